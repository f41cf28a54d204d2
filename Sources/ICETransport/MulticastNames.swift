import Bytes
import Connectivity
import EventLoop
import MDNS
import NetTypes
import Transport

/// Multicast DNS of this process: one `MDNSEngine` with a socket for each interface and family.
final class MulticastNames {
    private final class Link {
        let socket: UDPSocket
        let prefixes: [IPPrefix]

        init(_ socket: consuming UDPSocket, _ prefixes: [IPPrefix]) {
            self.socket = socket
            self.prefixes = prefixes
        }
    }

    private struct Asker {
        let session: SlotHandle
        let effect: EffectID
    }

    private var engine = MDNSEngine(at: MonotonicClock.now())
    private var links: [MDNSLink: Link] = [:]
    /// How many sessions use a name of ours.
    private var users: [MDNSName: Int] = [:]
    private var askers: [MDNSName: [Asker]] = [:]
    private var incoming = DatagramReceiveBatch(capacity: 16, payloadCapacity: 9000)
    private var outgoing = DatagramSendBatch(capacity: 64)
    private var scratch: [UInt8] = []
    private let token: UInt64

    /// Makes the service; the token names all its sockets to the loop's poller.
    init(token: UInt64) {
        self.token = token
        scratch.reserveCapacity(MDNSEngine.maximumDatagramByteCount)
    }

    var nextTimeout: Instant { engine.nextTimeout ?? .distantFuture }

    /// Opens and closes sockets as interfaces come and go; one that cannot be had leaves its link out.
    func use(_ interfaces: [Connectivity.NetworkInterface], _ poller: borrowing Poller, at now: Instant) {
        var wanted: [MDNSLink: [IPPrefix]] = [:]
        for interface in interfaces {
            for address in interface.addresses {
                let link = MDNSLink(interface: interface.index, family: address.ip.family)
                wanted[link, default: []] += [IPPrefix(address.ip, length: address.prefixLength)].compactMap(\.self)
            }
        }
        for (link, known) in links where wanted[link] != known.prefixes {
            engine.removeLink(link)
            links[link] = nil
        }
        for (link, prefixes) in wanted where links[link] == nil {
            guard let socket = Self.open(link) else { continue }
            let opened = Link(socket, prefixes)
            guard (try? poller.add(opened.socket.descriptor, token: token, interest: .read)) != nil else { continue }
            links[link] = opened
            engine.addLink(link, prefixes: prefixes, at: now)
        }
    }

    private static func open(_ link: MDNSLink) -> UDPSocket? {
        var options = UDPSocket.Options()
        // The responder of the system has the port as well.
        options.reusesAddress = true
        options.group = .init(link.group.ip, on: link.interface)
        options.reportsLocalAddress = true
        return try? UDPSocket(boundTo: SocketAddress(.unspecified(link.family), port: MDNSLink.port), options: options)
    }

    // MARK: Names of our own

    /// A name for an address, for one session more; `nil` if nobody would hear of it.
    func publish(_ address: ConcealedAddress, on interface: UInt32, at now: Instant) -> MDNSName? {
        guard links[MDNSLink(interface: interface, family: address.family)] != nil,
            let name = engine.publish(address, interface: interface, at: now)
        else { return nil }
        users[name, default: 0] += 1
        return name
    }

    /// Takes back a session's names, as far as nobody else uses them.
    func withdraw(_ names: [MDNSName]) {
        for name in names {
            let left = (users[name] ?? 1) - 1
            users[name] = left > 0 ? left : nil
            if left <= 0 { engine.withdraw(name) }
        }
    }

    // MARK: Others' names

    func resolve(_ name: MDNSName, _ session: SlotHandle, _ effect: EffectID, at now: Instant) {
        askers[name, default: []].append(Asker(session: session, effect: effect))
        engine.resolve(name, at: now)
    }

    func cancel(_ session: SlotHandle, _ effect: EffectID) {
        for (name, list) in askers where list.contains(where: { $0.session == session && $0.effect == effect }) {
            let rest = list.filter { $0.session != session || $0.effect != effect }
            askers[name] = rest.isEmpty ? nil : rest
            if rest.isEmpty { engine.stopResolving(name) }
        }
    }

    // MARK: The loop's calls

    /// Reads what has come over all links.
    func receive(at now: Instant) {
        for (link, end) in links {
            for index in incoming.receive(from: end.socket.handle) where !incoming.isTruncated(index) {
                let wasMulticast = incoming.destination(of: index).ip == link.group.ip
                Self.receive(&engine, incoming, index, link, wasMulticast, at: now)
            }
            incoming.removeAll()
        }
    }

    private static func receive(
        _ engine: inout MDNSEngine,
        _ incoming: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ link: MDNSLink,
        _ wasMulticast: Bool,
        at now: Instant
    ) {
        let source = incoming.source(of: index)
        _ = engine.receive(incoming.payload(of: index), from: source, over: link, wasMulticast: wasMulticast, at: now)
    }

    /// Does what is due, sends, and takes what became of questions; no address for a name that was not found.
    func process(at now: Instant) -> [(session: SlotHandle, effect: EffectID, address: ConcealedAddress?)] {
        if nextTimeout <= now { engine.handleTimeout(at: now) }
        while true {
            var order: MDNSTransmit?
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: MDNSEngine.maximumDatagramByteCount) { output in
                order = engine.pollTransmit(at: now, into: &output)
            }
            guard let order else { break }
            guard let link = links[order.link] else { continue }
            if !outgoing.hasRoom(for: scratch.count) { outgoing.flush() }
            _ = outgoing.enqueue(copying: scratch.span, on: DatagramRoute(link.socket.handle, to: order.destination))
        }
        outgoing.flush()
        var answers: [(session: SlotHandle, effect: EffectID, address: ConcealedAddress?)] = []
        while let event = engine.pollEvent() {
            let (name, address): (MDNSName, ConcealedAddress?) =
                switch event {
                case .resolved(let name, let address): (name, address)
                case .failed(let name, _), .lost(let name): (name, nil)
                }
            for asker in askers.removeValue(forKey: name) ?? [] {
                answers.append((asker.session, asker.effect, address))
            }
        }
        return answers
    }

    /// Says goodbye for all names, before the end.
    func stop(at now: Instant) {
        engine.withdrawAll()
        _ = process(at: now)
    }
}
