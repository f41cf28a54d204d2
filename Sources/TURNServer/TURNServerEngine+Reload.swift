/// What an operator may change while the server runs.
extension TURNServerEngine {
    /// Takes the credentials, the gate, the redirection, the quotas and bounds and the tolerances of another
    /// configuration; everything else stays as it was made with.
    ///
    /// No allocation ends by it: its client goes on with the credentials that it was made with. Permissions and channels
    /// towards peers that the new gate denies are not prolonged, so they last 5 and 10 minutes more at most. The rates
    /// at which strangers are answered stay.
    ///
    /// - Throws: `TURNServerConfigurationError`; nothing has changed then.
    public mutating func reload(_ fresh: TURNServerConfiguration) throws(TURNServerConfigurationError) {
        try fresh.validate()
        do { nonces = try fresh.credentials.nonceFactory() } catch { throw .badNonceSecret }
        configuration.credentials = fresh.credentials
        configuration.gate = fresh.gate
        configuration.redirection = fresh.redirection
        configuration.limits = fresh.limits
        configuration.answersRFC3489 = fresh.answersRFC3489
        configuration.acceptsLegacyChannels = fresh.acceptsLegacyChannels
        configuration.followsClientFamily = fresh.followsClientFamily
        credentials = fresh.credentials
        gate = fresh.gate
    }
}
