import Bytes
public import ICE
public import NetTypes
import STUN
import TURN

/// The way of packets out: data by the path, messages by the pacer. Data cost no allocation here.
extension ICESession {
    /// Prepares data of the application for the path to the peer (ice 81).
    ///
    /// A direct path takes the payload itself. For a relay or a connection the framed message is written into `output`,
    /// for which 64 bytes more than the payload has are room enough. After `.held`, drain `pollTransmit`.
    public mutating func send(
        _ payload: Span<UInt8>,
        component: UInt16 = 1,
        at now: Instant,
        into output: inout OutputSpan<UInt8>
    ) -> SessionSend {
        guard let path = agent.path(component: component) else { return .noPath }
        switch kind(of: path.base) {
        case .host: return .direct(path.base, to: outside(path.destination, on: path.base))
        case .relay(let handle):
            let start = output.count
            switch relay(payload, handle, to: path.destination, at: now, into: &output) {
            case .written?: return written(handle, byteCount: output.count - start)
            case .held?: return .held
            case .refused(.tooLong)?: return .tooLong
            case .refused?, nil: return .noPath
            }
        case .stream:
            guard payload.count <= StreamFrames.maximumByteCount,
                output.freeCapacity >= payload.count + StreamFrames.headerByteCount
            else { return .tooLong }
            StreamFrames.writeHeader(byteCount: payload.count, into: &output)
            output.append(contentsOf: payload)
            let count = payload.count + StreamFrames.headerByteCount
            return .written(
                SessionTransmit(base: path.base, destination: path.destination, byteCount: count, hopLimit: nil)
            )
        case nil, .carrier, .listener: return .noPath
        }
    }

    /// Where a packet really goes: behind NAT64 to the address that stands for the peer's.
    private func outside(_ destination: SocketAddress, on base: BaseID) -> SocketAddress {
        guard destination.family == .ipv4, let nat64, case .host(let place)? = kind(of: base),
            hosts[place].selected.address.family == .ipv6
        else { return destination }
        return SocketAddress(nat64.synthesized(destination.ip), port: destination.port)
    }

    private mutating func relay(
        _ payload: Span<UInt8>,
        _ handle: SlotHandle,
        to peer: SocketAddress,
        at now: Instant,
        into output: inout OutputSpan<UInt8>
    ) -> TURNSendResult? {
        guard relays.contains(handle) else { return nil }
        // A closure cannot take an output span of its surroundings, so the client is moved out and back: no allocation.
        let result = Self.send(payload, handle, peer, now, &relays, &output)
        if case .held? = result {
            mark(relay: handle)
            refreshClientTimeout()
        }
        return result
    }

    private static func send(
        _ payload: Span<UInt8>,
        _ handle: SlotHandle,
        _ peer: SocketAddress,
        _ now: Instant,
        _ relays: inout SlotPool<Relay>,
        _ output: inout OutputSpan<UInt8>
    ) -> TURNSendResult? {
        relays.update(handle) { $0.client.send(payload, to: peer, at: now, into: &output) }
    }

    private func written(_ handle: SlotHandle, byteCount: Int) -> SessionSend {
        let way = relays.read(handle) { ($0.base, $0.client.configuration.server) }
        guard let (base, server) = way else { return .noPath }
        return .written(SessionTransmit(base: base, destination: server, byteCount: byteCount, hopLimit: nil))
    }

    /// Writes the next message to send, or returns `nil` if there is none for now.
    ///
    /// All transactions of the process share `pacer`. The free capacity must be `maximumTransmitByteCount`.
    public mutating func pollTransmit(
        at now: Instant,
        pacer: inout CheckPacer,
        into output: inout OutputSpan<UInt8>
    ) -> SessionTransmit? {
        if let transmit = pollServers(at: now, into: &output) { return transmit }
        if let opener = pollOpener(into: &output) { return opener }
        while true {
            let start = output.count
            guard let transmit = agent.pollTransmit(at: now, pacer: &pacer, into: &output) else { break }
            collectAgent(at: now)
            if let sent = wrap(transmit, from: start, at: now, into: &output) { return sent }
            // Held or dropped; what a relay holds follows its request.
            if let sent = pollServers(at: now, into: &output) { return sent }
        }
        startNext(at: now, pacer: &pacer)
        return pollServers(at: now, into: &output)
    }

    /// Starts the next query or allocation if the pacer lets it (RFC 8445 §5.1.1.2; ice 11, 87).
    private mutating func startNext(at now: Instant, pacer: inout CheckPacer) {
        guard let next = starts.first, now >= startAt else { return }
        guard pacer.take(at: now) else {
            startAt = pacer.next
            return
        }
        starts.removeFirst()
        switch next {
        case .query(let handle): startQuery(handle, at: now)
        case .relay(let handle): startAllocation(handle, at: now)
        case .host, .mapping: break
        }
        startAt = pacer.next
        refreshClientTimeout()
    }

    private mutating func pollServers(at now: Instant, into output: inout OutputSpan<UInt8>) -> SessionTransmit? {
        while let handle = dirtyQueries.first {
            if let sent = Self.poll(handle, now, &queries, &output) { return sent }
            dirtyQueries.removeFirst()
        }
        while let handle = dirtyRelays.first {
            if let sent = Self.poll(handle, now, &relays, &output) { return sent }
            dirtyRelays.removeFirst()
        }
        return nil
    }

    private static func poll(
        _ handle: SlotHandle,
        _ now: Instant,
        _ queries: inout SlotPool<Query>,
        _ output: inout OutputSpan<UInt8>
    ) -> SessionTransmit? {
        queries.update(handle) { query -> SessionTransmit? in
            guard let transmit = query.client.pollTransmit(at: now, into: &output) else { return nil }
            return SessionTransmit(
                base: query.base,
                destination: transmit.destination,
                byteCount: transmit.byteCount,
                hopLimit: nil
            )
        } ?? nil
    }

    private static func poll(
        _ handle: SlotHandle,
        _ now: Instant,
        _ relays: inout SlotPool<Relay>,
        _ output: inout OutputSpan<UInt8>
    ) -> SessionTransmit? {
        relays.update(handle) { relay -> SessionTransmit? in
            guard let transmit = relay.client.pollTransmit(at: now, into: &output) else { return nil }
            return SessionTransmit(
                base: relay.base,
                destination: transmit.destination,
                byteCount: transmit.byteCount,
                hopLimit: nil
            )
        } ?? nil
    }

    /// Turns a message of the agent into what leaves this host; `nil` if a relay holds it or it must not leave.
    private mutating func wrap(
        _ transmit: ICETransmit,
        from start: Int,
        at now: Instant,
        into output: inout OutputSpan<UInt8>
    ) -> SessionTransmit? {
        switch kind(of: transmit.base) {
        case .host:
            return SessionTransmit(
                base: transmit.base,
                destination: outside(transmit.destination, on: transmit.base),
                byteCount: transmit.byteCount,
                hopLimit: nil
            )
        case .relay(let handle):
            moveToScratch(from: start, &output)
            guard !concealedPeers.contains(transmit.destination.ip) else {
                count(.concealedPeer)
                return nil
            }
            let message = scratch
            let result = relay(message.span, handle, to: transmit.destination, at: now, into: &output)
            guard case .written? = result, case .written(let sent) = written(handle, byteCount: output.count - start)
            else {
                if case .refused? = result { count(.noRelay) }
                return nil
            }
            return sent
        case .stream:
            moveToScratch(from: start, &output)
            StreamFrames.writeHeader(byteCount: scratch.count, into: &output)
            output.append(contentsOf: scratch.span)
            return SessionTransmit(
                base: transmit.base,
                destination: transmit.destination,
                byteCount: output.count - start,
                hopLimit: nil
            )
        case nil, .carrier, .listener:
            output.removeLast(output.count - start)
            count(.unknownBase)
            return nil
        }
    }

    /// Takes what the agent has written back out of the output, to be framed; keeps its room for the next.
    private mutating func moveToScratch(from start: Int, _ output: inout OutputSpan<UInt8>) {
        scratch.removeAll(keepingCapacity: true)
        for index in start..<output.count { scratch.append(output.span[index]) }
        output.removeLast(output.count - start)
    }

    // MARK: Openers

    /// Plans packets that open our NAT for a peer's candidate and die before they reach the peer's (opt-in).
    mutating func openTowards(_ candidate: Candidate) {
        guard configuration.openerHopLimit != nil, candidate.transport == .udp, candidate.type != .relayed,
            let address = candidate.socketAddress
        else { return }
        for host in hosts where !host.isGone && host.selected.address.family == address.family {
            guard let base = host.base, openers.count < 64 else { continue }
            openers.append((base, address))
        }
    }

    private mutating func pollOpener(into output: inout OutputSpan<UInt8>) -> SessionTransmit? {
        guard let opener = openers.popLast() else { return nil }
        let builder = STUNMessageBuilder(.binding, .indication, .random(using: &entropy), into: &output)
        guard let count = try? builder.finish(fingerprint: true, into: &output) else { return nil }
        return SessionTransmit(
            base: opener.base,
            destination: opener.to,
            byteCount: count,
            hopLimit: configuration.openerHopLimit
        )
    }
}
