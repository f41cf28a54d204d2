/// What many DTLS sessions have in common: identities or trust, and application protocols.
///
/// Immutable once made, so that all threads may share it; to change a certificate make a new one, as with `TLSContext`.
/// DTLS 1.2 (RFC 6347) with the cipher suites of RFC 7350 §3, forward secrecy and authenticated encryption only; no
/// compression, no renegotiation, no tickets.
public final class DTLSContext: Sendable {
    let base: TLSContext

    /// Which end of the association the context is for.
    public var role: TLSContext.Role { base.role }
    /// The application protocols (ALPN), the most wanted first.
    public var applicationProtocols: [String] { base.applicationProtocols }

    /// Makes a context for servers, which choose identities and application protocols as those of TLS do.
    ///
    /// - Throws: `CryptoError.noIdentity`, `.identityRefused`, `.invalidApplicationProtocol` or `.library`.
    public init(serverIdentities: [Identity], applicationProtocols: [String] = []) throws(CryptoError) {
        base = try TLSContext(serverIdentities, applicationProtocols, .datagrams)
    }

    /// Makes a context for clients, which check the server's certificate and its name.
    ///
    /// - Throws: `CryptoError.certificateNotPEM`, `.certificateUnreadable`, `.systemTrustUnavailable`,
    ///   `.invalidApplicationProtocol` or `.library`.
    public init(clientTrust: ClientTrust, applicationProtocols: [String] = []) throws(CryptoError) {
        base = try TLSContext(clientTrust, applicationProtocols, .datagrams)
    }

    /// The cipher suites in the order of preference, by their registered names.
    public var cipherSuites: [String] { base.cipherSuites }
}
