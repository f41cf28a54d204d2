import Bytes
import Diagnostics
import NetTypes
import TURN
import TURNServer
import Transport

/// Datagrams, in batches: from clients to the engine and on to peers, and back.
extension RelayShard {
    mutating func receiveFromClients(_ listener: SlotHandle, gathered: Bool, at now: Instant) {
        guard let name = udpListeners.read(listener, { $0.handle }) else { return }
        receiveFromClients(receive(from: name, gathered: gathered), at: name, now)
    }

    mutating func receiveFromClients(_ datagrams: Range<Int>, at name: UDPSocketHandle, _ now: Instant) {
        let speaksDTLS = associations.context != nil
        for index in datagrams {
            guard !packets.isTruncated(index) else {
                drops.count(.oversizedDatagram)
                continue
            }
            let isDTLS = speaksDTLS && Self.isDTLS(packets, index)
            let client = ClientTuple(
                transport: isDTLS ? .dtls : .udp,
                remote: packets.source(of: index),
                local: SocketAddress(packets.destination(of: index).ip, port: name.localAddress.port)
            )
            guard !isDTLS else {
                receiveSecurely(index, from: client, at: now)
                continue
            }
            switch Self.receive(packets, index, from: client, &engine, at: now) {
            case .relay(let transmit): relayPacket(index, transmit)
            case .accepted: drainEngine(at: now)
            case .handOver(let shard): forward(index, from: client, to: shard)
            case .ignored: break
            }
        }
    }

    mutating func receiveFromPeers(_ relay: SlotHandle, at now: Instant) {
        guard let (known, id) = relays.read(relay, { ($0.name, $0.id) }), let name = known else { return }
        // Each gets a header in front of it, for which merged ones leave no room.
        receiveFromPeers(receive(from: name, separately: true), of: id, at: now)
    }

    mutating func receiveFromPeers(_ datagrams: Range<Int>, of id: RelayID, at now: Instant) {
        let limits = streamLimits
        for index in datagrams {
            guard !packets.isTruncated(index) else {
                drops.count(.oversizedDatagram)
                continue
            }
            switch Self.frame(&packets, index, from: id, &engine, &streams, limits, &drops, at: now) {
            case .none: break
            case .datagram(let client, let bytes) where client.transport == .dtls:
                sendSecurely(packet: index, bytes, to: client)
            case .datagram(let client, let bytes):
                guard var route = route(to: client) else {
                    drops.count(.noRoute)
                    continue
                }
                guard carry(index, on: &route) else { continue }
                enqueue(packet: index, bytes, route)
            case .stream(let handle, let result): finishWrite(result, handle)
            }
        }
    }

    /// Tells clients what ICMP says about their datagrams; a few in one turn, the rest in the next.
    ///
    /// Returns whether there may be a rest.
    mutating func receiveErrors(_ relay: SlotHandle, at now: Instant) -> Bool {
        guard let (known, id) = relays.read(relay, { ($0.name, $0.id) }), let name = known else { return false }
        var hasMore = true
        for _ in 0..<16 where hasMore {
            guard let error = name.nextICMPError() else {
                hasMore = false
                continue
            }
            guard error.isICMP else { continue }
            let report = ICMPReport(type: error.type, code: error.code, errorData: error.mtu)
            engine.receiveICMP(report, relay: id, destination: error.destination, at: now)
        }
        drainEngine(at: now)
        return hasMore
    }

    // These two take the shard's parts one by one: a span of one part would otherwise bar access to all others.

    private static func receive(
        _ packets: borrowing DatagramReceiveBatch,
        _ index: Int,
        from client: ClientTuple,
        _ engine: inout TURNServerEngine,
        at now: Instant
    ) -> ClientDisposition {
        engine.receive(packets.payload(of: index), from: client, at: now)
    }

    private enum PeerOutcome {
        case none
        case datagram(ClientTuple, Range<Int>)
        case stream(SlotHandle, StreamWriteResult?)
    }

    private static func frame(
        _ packets: inout DatagramReceiveBatch,
        _ index: Int,
        from relay: RelayID,
        _ engine: inout TURNServerEngine,
        _ streams: inout SlotPool<RelayStream>,
        _ limits: StreamQueueLimits,
        _ drops: inout DropCounters<RelayDrop>,
        at now: Instant
    ) -> PeerOutcome {
        let source = packets.source(of: index)
        let payload = packets.payloadRange(of: index)
        var packet = packets.packet(at: index)
        let outcome = engine.receiveFromPeer(&packet, payload: payload, relay: relay, source: source, at: now)
        guard case .deliver(let client, let bytes) = outcome else { return .none }
        guard client.transport.isStream else { return .datagram(client, bytes) }
        let handle = SlotHandle(bits: client.connection)
        let frame = packet.span.extracting(bytes)
        return .stream(handle, enqueueMedia(frame, on: &streams, handle, limits, &drops, at: now))
    }

    /// Reads what waits at a socket into the batch, which is emptied first if it is full.
    mutating func receive(from socket: UDPSocketHandle, separately: Bool = false, gathered: Bool = true) -> Range<Int> {
        if packets.isFull { flushDatagrams() }
        return packets.receive(from: socket, separately: separately, gathered: gathered)
    }

    private mutating func relayPacket(_ index: Int, _ transmit: RelayTransmit) {
        guard let name = relaySocket(for: transmit) else { return }
        let start = packets.payloadRange(of: index).lowerBound
        let bytes = start + transmit.payload.lowerBound..<start + transmit.payload.upperBound
        var route = DatagramRoute(name, to: transmit.destination)
        guard carry(index, on: &route) else { return }
        enqueue(packet: index, bytes, route)
    }

    /// Takes the fields of the IP header along that travel with the payload; `false` if it has come its last hop.
    ///
    /// A field that the kernel has not told is 0, and stays what the system makes it (the alternate behaviour of
    /// RFC 8656 §13 and §14).
    mutating func carry(_ index: Int, on route: inout DatagramRoute) -> Bool {
        route.trafficClass = relayedTrafficClass(of: index)
        let hops = packets.hopLimit(of: index)
        guard hops != 1 else {
            drops.count(.hopLimitReached)
            return false
        }
        route.hopLimit = hops == 0 ? 0 : hops &- 1
        return true
    }

    /// The DSCP and ECN bits that a relayed datagram takes along (turn 147).
    ///
    /// Departure: those of network control (CS6 and CS7) become Best Effort. They are for routers among themselves.
    func relayedTrafficClass(of index: Int) -> UInt8 {
        let value = packets.trafficClass(of: index)
        return value >= 0xC0 ? value & 3 : value
    }

    /// Relays what came in a client's stream, by another shard, or encrypted: copied, for its buffer does not outlive the
    /// turn.
    mutating func relay(
        _ message: Span<UInt8>,
        _ transmit: RelayTransmit,
        trafficClass: UInt8 = 0,
        hopLimit: UInt8 = 0
    ) {
        guard let name = relaySocket(for: transmit) else { return }
        var route = DatagramRoute(name, to: transmit.destination)
        route.trafficClass = trafficClass
        route.hopLimit = hopLimit
        enqueue(copying: message.extracting(transmit.payload), route)
    }

    /// The socket to send from, set so that its datagrams are fragmented or not as this one wants.
    private mutating func relaySocket(for transmit: RelayTransmit) -> UDPSocketHandle? {
        let handle = SlotHandle(bits: transmit.token)
        guard let (known, forbids) = relays.read(handle, { ($0.name, $0.forbidsFragments) }) else { return nil }
        guard let name = known else { return openSender(handle, forbidsFragments: transmit.dontFragment) }
        guard forbids != transmit.dontFragment else { return name }
        // The option holds for the socket: what is queued under the old one must be gone before it changes.
        flushDatagrams(keepingPackets: true)
        _ = relays.update(handle) { $0.setForbidsFragments(transmit.dontFragment) }
        return name
    }

    private mutating func enqueue(packet index: Int, _ bytes: Range<Int>, _ route: DatagramRoute) {
        if sends.enqueue(packet: index, bytes: bytes, of: packets, on: route) { return }
        flushDatagrams(keepingPackets: true)
        if !sends.enqueue(packet: index, bytes: bytes, of: packets, on: route) { drops.count(.batchFull) }
    }

    mutating func enqueue(copying bytes: Span<UInt8>, _ route: DatagramRoute) {
        if sends.enqueue(copying: bytes, on: route) { return }
        flushDatagrams(keepingPackets: true)
        if !sends.enqueue(copying: bytes, on: route) { drops.count(.batchFull) }
    }

    /// Sends all that waits; the packets of this turn can then be forgotten, unless they are still being worked on.
    mutating func flushDatagrams(keepingPackets: Bool = false) {
        if !sends.isEmpty { sends.flush(referringTo: packets) }
        if !keepingPackets, packets.count > 0 || packets.usesRing { packets.removeAll() }
    }

    /// How to answer a client from the very address and port that it sent to (RFC 8489 §6.3.1.1).
    func route(to client: ClientTuple) -> DatagramRoute? {
        // By index: an iterator would hold a reference to the array, counted for each packet.
        for index in udpRoutes.indices {
            let name = udpRoutes[index]
            guard name.localAddress.port == client.local.port, name.family == client.local.family else { continue }
            let bound = name.localAddress.ip
            if bound.isUnspecified { return DatagramRoute(name, to: client.remote, from: client.local.ip) }
            if bound == client.local.ip { return DatagramRoute(name, to: client.remote) }
        }
        return nil
    }
}
