import Bytes
public import ICE
public import NetTypes
public import STUN
import TURN

/// The way of packets in: who they are for. Data cost no allocation here.
extension ICESession {
    /// Takes a datagram of a UDP socket, or a decrypted one of a DTLS connection; data stand where they came.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        on base: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> SessionDisposition {
        switch kind(of: base) {
        case .host(let place):
            let source = source.unmapped
            if let route = route(datagram, base, source) {
                switch route.client {
                case .relay(let handle): return receiveRelay(datagram, handle, from: source, at: now)
                case .query(let handle): return receiveAnswer(datagram, handle, from: source, at: now)
                }
            }
            return receivePeer(datagram, place, base, source, at: now)
        case .carrier(let handle):
            guard let server = relays.read(handle, { $0.client.configuration.server }) else {
                return ignore(.noRelay)
            }
            return receiveRelay(datagram, handle, from: server, at: now)
        case nil, .relay, .stream, .listener: return ignore(.unknownBase)
        }
    }

    /// The client that a server's message is for: Binding answers are for queries, all else for relays.
    ///
    /// A STUN server and a TURN server may be one, and a peer's check may come from a server's address too.
    private func route(_ datagram: Span<UInt8>, _ base: BaseID, _ source: SocketAddress) -> ServerRoute? {
        guard datagram.count >= 2 else { return nil }
        let isBinding = datagram[0] < 4 && Self.isBinding(datagram)
        for route in routes where route.base == base && route.server == source {
            switch route.client {
            // The upper of the two bits of the class says that it is an answer.
            case .query: if isBinding, datagram[0] & 1 == 1 { return route }
            case .relay: if !isBinding { return route }
            }
        }
        return nil
    }

    /// Whether a message of STUN has the method Binding, whatever its class (RFC 8489 §5).
    private static func isBinding(_ datagram: Span<UInt8>) -> Bool {
        datagram.bigEndianUInt16(at: 0) & 0x3EEF == 0x0001
    }

    private mutating func receivePeer(
        _ datagram: Span<UInt8>,
        _ place: Int,
        _ base: BaseID,
        _ source: SocketAddress,
        at now: Instant
    ) -> SessionDisposition {
        // Behind NAT64, peers of IPv4 come in under addresses of IPv6 (ice 14).
        var source = source
        if let nat64, let peer = nat64.extracted(source.ip) { source = SocketAddress(peer, port: source.port) }
        return take(datagram, 0..<datagram.count, base, source, at: now)
    }

    private mutating func take(
        _ bytes: Span<UInt8>,
        _ range: Range<Int>,
        _ base: BaseID,
        _ source: SocketAddress,
        at now: Instant
    ) -> SessionDisposition {
        switch agent.receive(bytes.extracting(range), on: base, from: source, at: now) {
        case .consumed:
            advance(at: now)
            return .consumed
        case .data(let component): return .data(component: component, range)
        case .refused(let reason):
            // Refused requests may have to be answered.
            advance(at: now)
            return ignore(reason == .unknownTransaction ? .unknownTransaction : .agent)
        }
    }

    mutating func receiveRelay(
        _ message: Span<UInt8>,
        _ handle: SlotHandle,
        from server: SocketAddress,
        at now: Instant
    ) -> SessionDisposition {
        guard let disposition = relays.update(handle, { $0.client.receive(message, from: server, at: now) }) else {
            return ignore(.noRelay)
        }
        switch disposition {
        case .accepted:
            _ = relays.update(handle) { $0.hasAnswered = true }
            mark(relay: handle)
            advance(at: now)
            return .consumed
        case .data(let peer, let range):
            guard let base = relayedBase(handle, peer.family) else { return ignore(.noRelay) }
            return take(message, range, base, peer, at: now)
        case .ignored(let reason): return ignore(reason == .unknownTransaction ? .unknownTransaction : .server)
        }
    }

    private mutating func receiveAnswer(
        _ message: Span<UInt8>,
        _ handle: SlotHandle,
        from server: SocketAddress,
        at now: Instant
    ) -> SessionDisposition {
        switch queries.update(handle, { $0.client.receive(message, from: server, at: now) }) {
        case .accepted?:
            mark(query: handle)
            advance(at: now)
            return .consumed
        case .ignored(let reason)?: return ignore(reason == .unknownTransaction ? .unknownTransaction : .server)
        case nil: return ignore(.unknownBase)
        }
    }

    /// Whether a check of this session's has that identifier, and its answer would still be taken.
    public func isAwaiting(_ id: TransactionID) -> Bool { agent.isAwaiting(id) }

    /// Notes that the system could not send.
    public mutating func sendFailed(
        on base: BaseID,
        to destination: SocketAddress?,
        _ failure: SendFailure,
        at now: Instant
    ) {
        agent.sendFailed(on: base, to: destination, failure, at: now)
        switch failure {
        case .unreachable, .refused, .notPermitted:
            if let destination { noteServerTrouble(base, destination, at: now) }
        case .messageTooBig, .closed: break
        }
        advance(at: now)
    }
}
