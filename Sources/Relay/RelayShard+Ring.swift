import Bytes
import EventLoop
import NetTypes
import Transport

/// What a shard adds to its ring again before it waits.
struct RingRearm {
    /// Tokens of sockets that receive no more, and of the poller.
    var receiving: [UInt64] = []
    /// Tokens of relay sockets whose errors nobody watches for.
    var watching: [UInt64] = []
    /// Relay sockets with errors to read.
    var broken: [SlotHandle] = []
}

/// The shard's turn with io_uring: data comes by itself, all else by the poller, which the ring watches.
extension RelayShard {
    /// How this shard learns of datagrams.
    var backEnd: DatagramBackEnd {
        packets.usesRing ? .ioUring : receiverHandles.isEmpty ? .epoll : .socketLookup
    }

    /// Waits for something to do.
    mutating func wait(until deadline: Instant) throws(SystemError) {
        guard packets.usesRing else {
            packets.rest(until: deadline)
            return try poller.wait(until: deadline, into: &events)
        }
        events.removeAll()
        addAgain()
        try packets.wait(until: deadline)
    }

    /// Serves what the ring has brought; leaves in `events` what the poller has.
    mutating func serveRing(at now: Instant) throws(SystemError) {
        serveBroken(at: now)
        while let event = packets.nextEvent() {
            switch event {
            case .datagrams(let bits): receive(bits, at: now)
            case .stopped(let bits, let error):
                let token = PollToken(bits: bits)
                rearm.receiving.append(bits)
                if error != nil, token.kind == Kind.relay.rawValue { noteErrors(token.handle) }
            case .ready(let bits, let isLast):
                let token = PollToken(bits: bits)
                if token.kind == Kind.poller.rawValue {
                    rearm.receiving.append(bits)
                    try poller.wait(until: .zero, into: &events)
                } else {
                    noteErrors(token.handle)
                    if isLast { rearm.watching.append(bits) }
                }
            }
        }
        serveBroken(at: now)
    }

    private mutating func receive(_ bits: UInt64, at now: Instant) {
        if packets.isFull { flushDatagrams() }
        let token = PollToken(bits: bits)
        let isListener = token.kind == Kind.udpListener.rawValue
        if isListener, let name = udpListeners.read(token.handle, { $0.handle }) {
            receiveFromClients(packets.receive(from: name, token: bits), at: name, now)
        } else if let (known, id) = relays.read(token.handle, { ($0.name, $0.id) }), let name = known {
            // Each gets a header in front of it, for which merged ones leave no room.
            receiveFromPeers(packets.receive(from: name, token: bits, separately: true), of: id, at: now)
        } else {
            packets.discard()
        }
    }

    private mutating func noteErrors(_ relay: SlotHandle) {
        let isKnown = relays.update(relay) { relay in
            defer { relay.hasErrors = true }
            return relay.hasErrors
        }
        if isKnown == false { rearm.broken.append(relay) }
    }

    /// Reads the errors of relay sockets, a few of each.
    private mutating func serveBroken(at now: Instant) {
        // The rest of those that have more is moved to the front, for the next time.
        var kept = 0
        for position in rearm.broken.indices {
            let handle = rearm.broken[position]
            let hasMore = receiveErrors(handle, at: now)
            _ = relays.update(handle) { $0.hasErrors = hasMore }
            guard hasMore else { continue }
            rearm.broken[kept] = handle
            kept += 1
        }
        rearm.broken.removeSubrange(kept...)
    }

    /// Adds sockets again from which nothing came any more: buffers were short, or there was an error.
    private mutating func addAgain() {
        var kept = 0
        for position in rearm.receiving.indices {
            let bits = rearm.receiving[position]
            guard !add(bits) else { continue }
            rearm.receiving[kept] = bits
            kept += 1
        }
        rearm.receiving.removeSubrange(kept...)
        kept = 0
        for position in rearm.watching.indices {
            let bits = rearm.watching[position]
            guard let name = relays.read(PollToken(bits: bits).handle, { $0.name }) ?? nil,
                !packets.watchErrors(of: name, token: bits)
            else { continue }
            rearm.watching[kept] = bits
            kept += 1
        }
        rearm.watching.removeSubrange(kept...)
    }

    /// Returns `false` if it must wait for another turn.
    private mutating func add(_ bits: UInt64) -> Bool {
        let token = PollToken(bits: bits)
        switch Kind(rawValue: token.kind) {
        case .poller: return packets.watch(poller.number, token: bits)
        case .udpListener:
            guard let name = udpListeners.read(token.handle, { $0.handle }) else { return true }
            return packets.add(name, token: bits)
        default:
            guard let (known, hasErrors) = relays.read(token.handle, { ($0.name, $0.hasErrors) }), let name = known
            else {
                return true
            }
            // With errors in its queue it would be ready again and again, with nothing to receive.
            return !hasErrors && packets.add(name, token: bits)
        }
    }
}
