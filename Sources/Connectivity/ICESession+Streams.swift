import Bytes
public import ICE
public import NetTypes
import STUN
import TURN

/// Connections: to TURN servers, and to the peer (RFC 6544; ice 118 to 127).
extension ICESession {
    /// Takes the connection that an effect has asked for; TLS or DTLS is established.
    public mutating func connected(_ id: EffectID, base: BaseID, local: SocketAddress, at now: Instant) {
        guard let effect = effects.removeValue(forKey: id) else { return refuse(base) }
        switch effect.purpose {
        case .connectRelay(let plan) where !hosts[plan.host].isGone: startRelay(plan, on: base, at: now)
        case .connectPeer(let attempt, let host, let remote) where !hosts[host].isGone:
            guard addStream(base, remote, host, at: now) != nil else {
                agent.connectFailed(attempt: attempt, at: now)
                refuse(base)
                break
            }
            agent.connected(attempt: attempt, connection: base, from: local, at: now)
        default: refuse(base)
        }
        advance(at: now)
    }

    /// Takes a connection that the peer, or a stranger, has opened to a listener.
    ///
    /// It is closed if no authenticated check comes over it in time, earlier if there are as many as may be.
    public mutating func accepted(_ connection: BaseID, on listener: BaseID, from: SocketAddress, at now: Instant) {
        guard case .listener(let place)? = kind(of: listener),
            let handle = addStream(connection, from, place, at: now)
        else { return refuse(connection) }
        if agent.accepted(connection: connection, on: listener, from: from, at: now) {
            unproven.append((handle, now + configuration.limits.unprovenStreamTime))
        } else {
            count(.limitReached)
            dropStream(handle, at: now)
        }
        advance(at: now)
    }

    /// Takes a connection in; in a full table one that has proven nothing makes room.
    private mutating func addStream(
        _ base: BaseID,
        _ remote: SocketAddress,
        _ host: Int,
        at now: Instant
    ) -> SlotHandle? {
        if streams.count == streams.limit, let victim = victim(of: remote) {
            drop(unproven: victim, .displacedStream, at: now)
        }
        guard let handle = streams.insert(PeerStream(base: base, remote: remote.unmapped, host: host)) else {
            count(.limitReached)
            return nil
        }
        bases.append(BaseEntry(id: base, kind: .stream(handle)))
        return handle
    }

    /// Who is to go for a newer one: the oldest of the prefix that has most, so that one network displaces but its own.
    private func victim(of newcomer: SocketAddress) -> SlotHandle? {
        let prefixes = unproven.map { streams.read($0.stream) { $0.remote.ip.clientPrefix } ?? 0 }
        var counts = [newcomer.ip.unmapped.clientPrefix: 1]
        for prefix in prefixes { counts[prefix, default: 0] += 1 }
        let most = counts.values.max()
        return prefixes.firstIndex { counts[$0] == most }.map { unproven[$0].stream }
    }

    mutating func drop(unproven stream: SlotHandle, _ reason: SessionDrop, at now: Instant) {
        count(reason)
        dropStream(stream, at: now)
    }

    /// Asks for the connection that a pair of TCP candidates needs.
    mutating func connectPeer(_ base: BaseID, _ remote: SocketAddress, _ attempt: UInt32, at now: Instant) {
        let place = hosts.indices.first { hosts[$0].active == base || hosts[$0].listener == base }
        guard let place, !hosts[place].isGone, streams.count - unproven.count < streams.limit else {
            return agent.connectFailed(attempt: attempt, at: now)
        }
        // Simultaneous open leaves from the listener's port, active from any.
        let port = offers.first { $0.base == base && $0.found.tcpType == .simultaneousOpen }?.found.address.port
        let own = hosts[place].selected.address
        let local = SocketAddress(own.ip, port: port ?? 0, scope: own.scope)
        let purpose = Purpose.connectPeer(attempt: attempt, host: place, remote: remote)
        want(purpose, within: .seconds(30), holdsGathering: false, at: now) {
            .connect($0, .tcp, from: local, to: remote)
        }
    }

    /// Notes that a connection has ended, or that a socket was closed by the system.
    public mutating func closed(_ base: BaseID, at now: Instant) {
        switch kind(of: base) {
        case nil: return count(.unknownBase)
        case .stream(let handle): dropStream(handle, isOpen: false, at: now)
        case .carrier(let handle):
            _ = relays.update(handle) { $0.client.transportFailed(at: now) }
            mark(relay: handle)
        case .host(let place), .listener(let place): removeHost(place, at: now)
        case .relay: count(.unknownBase)
        }
        advance(at: now)
    }

    mutating func dropStream(_ handle: SlotHandle, isOpen: Bool = true, at now: Instant) {
        guard let base = streams.read(handle, { $0.base }) else { return }
        _ = streams.remove(handle)
        unproven.removeAll { $0.stream == handle }
        bases.removeAll { $0.id == base }
        agent.removeBase(base, at: now)
        if isOpen { want(.close(base)) }
    }

    /// Takes the next bytes of a connection, cut anywhere; data of the peer come out of `pollData`.
    public mutating func receiveStream(_ bytes: Span<UInt8>, on base: BaseID, at now: Instant) {
        switch kind(of: base) {
        case .carrier(let handle): receiveCarrier(bytes, handle, base, at: now)
        case .stream(let handle): receivePeer(bytes, handle, base, at: now)
        case nil, .host, .relay, .listener: return count(.unknownBase)
        }
        advance(at: now)
    }

    /// Takes the oldest frame of data that came over a connection and returns its component.
    ///
    /// A frame for which there is no room is lost; the longest has 65535 bytes.
    public mutating func pollData(into output: inout OutputSpan<UInt8>) -> UInt16? {
        while let frame = inbox.popFirst() {
            guard frame.bytes.count <= output.freeCapacity else {
                count(.notTaken)
                continue
            }
            output.append(contentsOf: frame.bytes.span)
            return frame.component
        }
        return nil
    }

    private mutating func keep(_ bytes: Span<UInt8>, _ component: UInt16) {
        if !inbox.append((component, bytes.toArray())) { count(.notTaken) }
    }

    // MARK: To the peer

    private mutating func receivePeer(_ bytes: Span<UInt8>, _ handle: SlotHandle, _ base: BaseID, at now: Instant) {
        let limit = configuration.limits.streamBytes
        let remote = streams.update(handle) { stream -> SocketAddress? in
            stream.byteCount += bytes.count
            guard stream.byteCount <= limit else { return nil }
            stream.frames.append(bytes)
            return stream.remote
        }
        guard let remote = remote ?? nil else {
            count(.brokenStream)
            return dropStream(handle, at: now)
        }
        // A frame is copied out, so that the agent may do with it what it wants.
        while let frame = nextFrame(handle) {
            switch agent.receive(frame.span, on: base, from: remote, at: now) {
            case .data(let component): keep(frame.span, component)
            // Of requests the agent takes none without proof.
            case .consumed: if Self.isRequest(frame) { unproven.removeAll { $0.stream == handle } }
            case .refused: break
            }
        }
    }

    private static func isRequest(_ message: [UInt8]) -> Bool { message.starts(with: [0, 1]) }

    private mutating func nextFrame(_ handle: SlotHandle) -> [UInt8]? {
        streams.update(handle) { stream -> [UInt8]? in
            var frame: [UInt8]?
            guard stream.frames.withNext({ frame = $0.toArray() }) else { return nil }
            stream.byteCount -= (frame?.count ?? 0) + StreamFrames.headerByteCount
            return frame
        } ?? nil
    }

    // MARK: To TURN servers

    private mutating func receiveCarrier(
        _ bytes: Span<UInt8>,
        _ handle: SlotHandle,
        _ base: BaseID,
        at now: Instant
    ) {
        let isStream = relays.update(handle) { relay in
            if relay.carrier.isStream { for index in bytes.indices { relay.unread.append(bytes[index]) } }
            return relay.carrier.isStream
        }
        guard isStream == true else { return receiveMessage(bytes, handle, at: now) }
        while true {
            switch nextMessage(handle) {
            case .none?, nil: return
            case .message(let message)?: receiveMessage(message.span, handle, at: now)
            case .broken?:
                count(.brokenStream)
                _ = relays.update(handle) { $0.client.transportFailed(at: now) }
                return mark(relay: handle)
            }
        }
    }

    private enum Cut {
        case none
        case message([UInt8])
        case broken
    }

    private mutating func nextMessage(_ handle: SlotHandle) -> Cut? {
        relays.update(handle) { relay in
            switch StreamFraming().frame(at: relay.unread.span) {
            case .needMore: return .none
            case .stun(let count), .channelData(let count):
                let message = Array(relay.unread[..<count])
                relay.unread.removeFirst(count)
                return .message(message)
            case .broken: return .broken
            }
        }
    }

    private mutating func receiveMessage(_ message: Span<UInt8>, _ handle: SlotHandle, at now: Instant) {
        let server = relays.read(handle) { $0.client.configuration.server }
        guard let server else { return }
        if case .data(let component, let range) = receiveRelay(message, handle, from: server, at: now) {
            keep(message.extracting(range), component)
        }
    }
}
