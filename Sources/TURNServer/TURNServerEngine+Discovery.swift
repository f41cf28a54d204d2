import Bytes
import NetTypes
import STUN

/// NAT behaviour discovery (RFC 5780 §6): Binding responses that come from elsewhere.
extension TURNServerEngine {
    /// What a Binding request may have that a server with one address does not know.
    static let discoveryAttributes: AttributeSet = [.changeRequest, .responsePort, .padding]
    /// The longest PADDING of a response: an Ethernet's MTU, so that the response is fragmented.
    static let maximumPadding = 1500

    /// The addresses with which a request to `client.local` can be answered from elsewhere.
    ///
    /// Only over UDP: a stream has no other way back (turn 182).
    func discovery(for client: ClientTuple) -> (DiscoveryAddresses, DiscoveryAddresses.Corner)? {
        guard client.transport == .udp else { return nil }
        for addresses in configuration.discovery {
            if let corner = addresses.corner(client.local) { return (addresses, corner) }
        }
        return nil
    }

    mutating func discover(
        _ request: borrowing STUNMessageView,
        _ responder: Responder,
        _ addresses: DiscoveryAddresses,
        _ corner: DiscoveryAddresses.Corner,
        at now: Instant
    ) -> ClientDisposition {
        let change: ChangeRequest
        let port: UInt16?
        do {
            change = try request.changeRequest() ?? ChangeRequest(ip: false, port: false)
            port = try request.responsePort()
        } catch {
            fail(responder, .badRequest, error.reason)
            return .accepted
        }
        let padding = request.value(.padding)?.count
        guard port == nil || padding == nil, port != 0 else {
            fail(responder, .badRequest, "RESPONSE-PORT")
            return .accepted
        }
        // Such answers find their way through firewalls that ordinary ones do not: they have a limit of their own.
        if change.ip || change.port || port != nil || padding != nil,
            !discoveries.take(responder.client.remote.ip, at: now)
        {
            return ignore(.discoveryRateLimit)
        }
        let origin = corner.changed(address: change.ip, port: change.port)
        let other = corner.changed(address: true, port: true)
        let client = responder.client
        let elsewhere = ClientTuple(
            transport: client.transport,
            remote: SocketAddress(client.remote.ip, port: port ?? client.remote.port, scope: client.remote.scope),
            local: addresses.local(origin)
        )
        succeed(responder.answering(to: elsewhere), extraRoom: Self.maximumPadding) { builder, output in
            builder.append(.xorMappedAddress, xored: client.remote, into: &output)
            builder.append(.mappedAddress, client.remote, into: &output)
            builder.append(.responseOrigin, addresses.external(origin), into: &output)
            builder.append(.otherAddress, addresses.external(other), into: &output)
            // Departure: RFC 5780 §6.1 wants the length of the MTU. The answer is not to be longer than what asked for it.
            if let padding {
                let zeros = InlineArray<1500, UInt8>(repeating: 0)
                let count = min(padding, Self.maximumPadding) & ~3
                builder.append(.padding, zeros.span.extracting(..<count), into: &output)
            }
        }
        return .accepted
    }
}
