import Bytes
import NetTypes

/// What an operator may change while the server runs.
extension TURNServerEngine {
    /// Takes the credentials, the gate, the redirection, the quotas and bounds and the tolerances of another
    /// configuration; everything else stays as it was made with.
    ///
    /// No allocation ends by it: its client goes on with the credentials that it was made with. Permissions, channels and
    /// TCP connections with peers that the new gate denies end at once. The rates at which strangers are answered stay.
    /// O(number of permissions and channels).
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
        for handle in allocations.handles {
            // Before the channels may go: without any there is nothing to tell.
            tellChannelPaths(of: handle)
            closeDenied(handle)
        }
    }

    /// Ends all that leads an allocation to peers which the gate would not admit as it did.
    private mutating func closeDenied(_ handle: SlotHandle) {
        guard let held = allocations.read(handle, { ($0.permissions, $0.channels, $0.connections) }) else { return }
        // At the beginning of time nothing had expired: all that stands in the tables is found.
        let permissions = held.0.filter { ip in
            let permission = peers.permission(handle.index, ip, at: .zero)
            return !isAdmitted(ip, permission?.isOwnRelay)
        }
        let channels = held.1.filter { number in
            guard let channel = peers.channel(handle.index, number, at: .zero) else { return true }
            return !isAdmitted(channel.peer.ip, channel.isOwnRelay)
        }
        for connection in held.2 {
            guard let peer = connections[connection]?.peer, admit(peer) == nil else { continue }
            closeConnection(connection)
        }
        guard !permissions.isEmpty || !channels.isEmpty else { return }
        for ip in permissions { peers.removePermission(handle.index, ip) }
        for number in channels { peers.removeChannel(handle.index, number) }
        _ = allocations.update(handle) { allocation in
            allocation.permissions.removeAll { permissions.contains($0) }
            allocation.channels.removeAll { channels.contains($0) }
        }
    }

    private func isAdmitted(_ ip: IPAddress, _ isOwnRelay: Bool?) -> Bool {
        admit(SocketAddress(ip, port: 0)).map { $0.isOwnRelay == isOwnRelay } ?? false
    }
}
