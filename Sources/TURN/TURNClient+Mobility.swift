import Bytes
public import NetTypes
import STUN

/// Mobility (RFC 8016): the allocation is kept while our address changes.
extension TURNClient {
    /// Whether the allocation can follow us: if not, allocate anew.
    public var canMove: Bool {
        guard case .allocated = phase else { return false }
        return ticket != nil
    }

    /// Tells that messages leave from another address or over another connection from now on, and keeps the allocation.
    ///
    /// A `.moved` event follows, or `.ended`: with `.allocationLost` the server does not let us, and a new allocation must
    /// be made. Until then data are refused, and what else there is to ask waits. A new nonce is fetched on the way, since
    /// the server gives one to each address. `transport` and `server` name what has changed besides our own address.
    ///
    /// - Returns: `false`, and does nothing, if the allocation cannot move.
    public mutating func move(
        over transport: TransportProtocol? = nil,
        to server: SocketAddress? = nil,
        at now: Instant
    ) -> Bool {
        guard canMove else { return false }
        if let server { configuration.server = server }
        // What was under way was asked from the old address: it is asked again from the new one.
        let unanswered = transactions.removeAll().map(\.context.purpose)
        if let transport, transport != configuration.transport {
            configuration.transport = transport
            transactions = ClientTransactions(
                policy: configuration.retransmission,
                isReliable: transport.isStream,
                limit: configuration.limits.transactions,
                estimator: transactions.estimator
            )
        }
        waiting = unanswered.filter(\.isForPeers) + waiting
        isMoving = true
        submit(.move, at: now)
        return true
    }

    mutating func noteTicket(_ response: borrowing STUNMessageView) {
        guard let value = response.value(.mobilityTicket), value.count > 0 else { return }
        ticket = value.toArray()
    }

    mutating func moved(_ response: borrowing STUNMessageView, since started: Instant, at now: Instant) {
        guard case .allocated = phase else { return }
        guard let seconds = (try? response.lifetimeSeconds()) ?? nil, seconds > 0 else {
            return moveFailed(.transaction(.malformedResponse), at: now)
        }
        isMoving = false
        // The old one is used up.
        ticket = nil
        noteTicket(response)
        noteLifetime(seconds, since: started)
        tell(.moved(lifetimeSeconds: seconds))
        showNewAddress(at: now)
    }

    /// Sends an empty datagram to a peer: the server turns to the new address when data come from there, and not before.
    private mutating func showNewAddress(at now: Instant) {
        var permitted: IPAddress?
        peers.permissions.forEach { ip, permission in
            if permitted == nil, now < permission.expires { permitted = ip }
        }
        guard let permitted else { return }
        let nothing: [UInt8] = []
        let message = buildBytes(capacity: 64) { output in
            // Port 9 is for what nobody wants (RFC 863).
            _ = indicate(nothing.span, SocketAddress(permitted, port: 9), false, into: &output)
        }
        transmit(message)
    }

    mutating func moveFailed(_ failure: TURNClientFailure, at now: Instant) {
        isMoving = false
        // Whatever the server has against it (400, 405, 437, 441), the way out is a new allocation.
        if case .refused = failure { return end(.failed(.allocationLost)) }
        end(.failed(failure))
    }

    /// The server knows no allocation at our address: either it is gone, or a NAT has given us another address.
    mutating func missing(_ purpose: Purpose, at now: Instant) {
        // The ticket proves which of the two; a move that is under way tells soon.
        guard isMoving || move(at: now) else { return end(.failed(.allocationLost)) }
        if purpose.isForPeers { waiting.append(purpose) }
    }
}

extension TURNClient.Purpose {
    /// Whether it is about permissions or channels.
    var isForPeers: Bool {
        switch self {
        case .permit, .bind, .connect: true
        case .allocate, .refresh, .move, .delete: false
        }
    }
}
