import Bytes
import Diagnostics
import EventLoop
import NetTypes
import SocketLookup
import TURN
import TURNServer
import Transport

/// Relayed addresses without sockets: the kernel brings what comes for all of them to one (BPF sk_lookup).
///
/// A relay begins with a store into memory that the kernel's program reads. It gets a socket of its own, which only sends,
/// with the first datagram to a peer.
extension RelayShard {
    /// Opens the sockets that receive for all relays, if that is how this shard works.
    mutating func openReceivers() throws {
        guard let lookup = configuration.portLookup else { return }
        var options = UDPSocket.Options()
        options.mergesReceived = configuration.mergesDatagrams
        options.reportsTrafficClass = configuration.copiesTrafficClass
        options.reportsHopLimit = configuration.decrementsHopLimit
        options.receiveBufferBytes = configuration.listenerBufferBytes
        for address in lookup.addresses.indices {
            let socket = try lookup.openSocket(of: address, for: engine.shard, options)
            let descriptor = socket.descriptor
            guard let handle = receivers.insert(PortReceiver(socket, ports: lookup.ports)) else { continue }
            receiverHandles.append(handle)
            try poller.add(descriptor, token: Self.token(.receiver, handle), interest: .read)
        }
        for family in AddressFamily.allCases where lookup.addresses.contains(where: { $0.family == family }) {
            let socket = try lookup.openErrors(family, for: engine.shard)
            let descriptor = socket.descriptor
            guard let handle = errorSockets.insert(socket) else { continue }
            try poller.add(descriptor, token: Self.token(.errors, handle), interest: .read)
        }
    }

    /// Keeps the ports that the listeners have from relays: the kernel would bring their clients' datagrams to these.
    ///
    /// Before any shard runs, and after the listeners were opened, for port 0 lets the system choose.
    func excludeListeners() {
        guard let lookup = configuration.portLookup else { return }
        for name in udpRoutes where lookup.ports.contains(name.localAddress.port) {
            for index in lookup.addresses.indices { lookup.exclude(name.localAddress.port, of: index) }
        }
    }

    /// Makes a relay of a port.
    ///
    /// A port that somebody has, or that another shard has not given up yet, or for which something may still wait here, is
    /// as good as in use: the engine takes another one.
    mutating func claimRelay(_ request: RelayRequest, _ lookup: PortLookup, at now: Instant) {
        let port = request.local.port
        guard let address = lookup.addresses.firstIndex(of: request.local.ip), lookup.ports.contains(port) else {
            return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
        }
        let receiver = receiverHandles[address]
        guard receivers.update(receiver, { $0.isRested(port) }) == true,
            lookup.claim(port, of: address, for: engine.shard)
        else { return engine.relayOpenFailed(request.id, addressInUse: true, at: now) }
        guard let handle = relays.insert(RelaySocket(of: request, at: address)) else {
            lookup.release(port, of: address)
            return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
        }
        _ = receivers.update(receiver) { $0.open(port, for: handle) }
        engine.relayOpened(request.id, token: handle.bits, at: now)
    }

    /// Gives the port of a relay back that has ended.
    mutating func releaseRelay(_ port: UInt16, of address: Int) {
        // First the kernel brings nothing more for it; what waits already finds nobody.
        configuration.portLookup?.release(port, of: address)
        _ = receivers.update(receiverHandles[address]) { $0.close(port) }
    }

    /// Opens the socket that a relay sends from.
    ///
    /// Somebody else may have taken the port meanwhile, for nothing holds it before, or there may be no descriptor left. Then
    /// the relayed address works one way at most and ends, which the client learns with its next request.
    mutating func openSender(_ handle: SlotHandle, forbidsFragments: Bool) -> UDPSocketHandle? {
        guard let id = relays.read(handle, { $0.id }) else { return nil }
        let error = relays.update(handle) { $0.open(forbidsFragments: forbidsFragments) } ?? nil
        guard let error else { return relays.read(handle) { $0.name } ?? nil }
        drops.count(error.isAddressInUse ? .portTaken : .noSender)
        let what =
            error.isAddressInUse ? "Another program has taken a relay port." : "A relay has no socket to send from."
        logger.warning(what, ["error": .text("\(error)")])
        engine.relayLost(id, at: MonotonicClock.now())
        return nil
    }

    /// Reads what peers have sent to any relay of one address, a batch at most.
    mutating func receiveFromPorts(_ receiver: SlotHandle, at now: Instant) {
        guard let name = receivers.read(receiver, { $0.socket.handle }) else { return }
        // Room for merged datagrams lets a few messages in with each reading.
        for _ in 0..<8 {
            let datagrams = receive(from: name, separately: true)
            let isDrained = packets.hasDrained
            // Without room nothing was read.
            if isDrained || !datagrams.isEmpty {
                _ = receivers.update(receiver) { $0.noteReading(isDrained: isDrained) }
            }
            for index in datagrams { receiveFromPort(index, receiver, at: now) }
            if isDrained || packets.isFull { return }
        }
    }

    private mutating func receiveFromPort(_ index: Int, _ receiver: SlotHandle, at now: Instant) {
        let destination = packets.destination(of: index)
        guard let handle = receivers.read(receiver, { $0.relay(at: destination.port) }) ?? nil,
            let (id, local) = relays.read(handle, { ($0.id, $0.local) }), local.ip == destination.ip
        else { return drops.count(.closedRelay) }
        receiveFromPeers(index..<index + 1, of: id, at: now)
    }

    /// Tells clients what ICMP says about their datagrams; a few in one turn, the rest in the next.
    mutating func receivePortErrors(_ socket: SlotHandle, at now: Instant) {
        guard let lookup = configuration.portLookup else { return }
        for _ in 0..<16 {
            guard let arrival = errorSockets.update(socket, { $0.next() }), arrival != .nothing else { break }
            guard case .error(let quoted) = arrival,
                let address = lookup.addresses.firstIndex(of: quoted.source.ip),
                let handle = receivers.read(receiverHandles[address], { $0.relay(at: quoted.source.port) }) ?? nil,
                let id = relays.read(handle, { $0.id })
            else {
                drops.count(arrival == .wrongChecksum ? .brokenICMP : .strangeICMP)
                continue
            }
            let error = quoted.error
            let report = ICMPReport(type: error.type, code: error.code, errorData: error.mtu)
            engine.receiveICMP(report, relay: id, destination: error.destination, at: now)
        }
        drainEngine(at: now)
    }
}
