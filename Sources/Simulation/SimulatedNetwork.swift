import Bytes
public import Diagnostics
public import NetTypes

/// A whole internet in virtual time, decided by one seed.
///
/// Build it with `addLAN`, `addHost` and their kin, start programs on the hosts, and let time pass with `run`. Nothing
/// happens between calls of `run`; no clock, socket or thread is touched. The same seed and the same calls give the same
/// packets, byte for byte.
///
///     let network = SimulatedNetwork(seed: 7)
///     let home = network.addLAN("home", behind: GatewayConfiguration(nat: .portRestricted))
///     let alice = network.addHost("alice", on: home)
///     let server = network.addHost("server", on: network.internet)
///     server.run(Echo())
///     alice.run(Caller(server.address()))
///     network.run(for: .seconds(5))
public final class SimulatedNetwork {
    /// Something that no correct program does.
    public enum Failure: Error, Sendable, Hashable {
        /// A program asks to be called again and again without time passing; it was stopped.
        case spinning(host: String)
    }

    /// What decides everything.
    public let seed: UInt64
    /// The time; it begins at one second, so that no `Instant` is zero by accident.
    public private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// The time of day when the world began, in seconds since 1970.
    public let startUnixSeconds: UInt64 = 1_700_000_000
    /// How many packets went no further, and why.
    public private(set) var drops = DropCounters<NetworkDrop>()
    /// How many events have happened.
    public private(set) var eventCount: UInt64 = 0
    /// How many packets were put on a link.
    public private(set) var packetCount: UInt64 = 0
    /// What went wrong that no correct program does.
    public private(set) var failures: [Failure] = []
    /// What names mean.
    public var names = NameService()
    /// What happens to messages between programs.
    public var signaling = SignalingConditions()
    /// What is written down of all that happens.
    public var recorder = Recorder()
    /// The segment that everything hangs from.
    public let internet: SimulatedSegment

    /// All segments, in the order in which they were added.
    public internal(set) var segments: [SimulatedSegment] = []
    /// All hosts, in the order in which they were added.
    public internal(set) var hosts: [SimulatedHost] = []
    /// All gateways, in the order in which they were added.
    public internal(set) var gateways: [SimulatedGateway] = []
    var links: [Link] = []
    var attachments: [Attachment] = []
    var lanCount = 0
    private var queue = EventQueue()
    private var underWay = Slab<Packet>()
    private var messages = Slab<HostEvent>()
    private var script: [() -> Void] = []
    var signalingState: SignalingState
    var questionCount: UInt64 = 0

    /// Makes a world that holds nothing but an empty Internet.
    public init(seed: UInt64) {
        self.seed = seed
        signalingState = SignalingState(entropy: Self.entropy(seed, "signaling"))
        internet = SimulatedSegment(
            "internet",
            index: 0,
            prefixes: [Self.prefix("203.0.113.0/24"), Self.prefix("2001:db8:ffff::/64")],
            firstHost: 10,
            routers: [Self.prefix("203.0.113.1/32").base, Self.prefix("2001:db8:ffff::1/128").base]
        )
        segments = [internet]
    }

    /// A prefix that the source names.
    static func prefix(_ text: String) -> IPPrefix {
        guard let prefix = IPPrefix(text) else { preconditionFailure("'\(text)' is no prefix") }
        return prefix
    }

    /// A sequence of its own for everything that has a name, so that one thing more does not change all others.
    func entropy(_ name: String) -> Entropy { Self.entropy(seed, name) }

    private static func entropy(_ seed: UInt64, _ name: String) -> Entropy {
        var hash = seed.flatHash(seed: 0x5EED)
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)).flatHash(seed: 0x9E37) }
        return .seeded(hash)
    }

    // MARK: Time

    /// Lets time pass.
    public func run(for span: TimeSpan) { _ = run(for: span) { false } }

    /// Lets time pass until the condition holds, at most that long; whether it held.
    @discardableResult
    public func run(for span: TimeSpan, until isDone: () -> Bool) -> Bool {
        let end = now + span
        while !isDone() {
            guard let next = queue.earliest, next <= end, let (time, event) = queue.pop() else {
                now = end
                return isDone()
            }
            now = max(now, time)
            eventCount &+= 1
            happen(event, at: time)
        }
        return true
    }

    /// Does something at a later moment of the world.
    public func at(_ moment: Instant, _ step: @escaping () -> Void) {
        script.append(step)
        push(Event(.step, script.count - 1), at: moment)
    }

    /// Does something after a while.
    public func after(_ span: TimeSpan, _ step: @escaping () -> Void) { at(now + span, step) }

    func push(_ event: Event, at moment: Instant) { queue.push(event, at: max(moment, now)) }

    private func happen(_ event: Event, at time: Instant) {
        let (a, b) = (Int(event.a), Int(event.b))
        switch event.kind {
        case .arrival: if let packet = underWay.take(b) { emerge(packet, from: links[a]) }
        case .delivery: if let packet = underWay.take(b) { hosts[a].receive(packet) }
        case .wake: hosts[a].wake(b, at: time)
        case .stream: if b < hosts[a].streams.count { hosts[a].streams[b]?.handleTimeout(at: time) }
        case .message:
            guard let message = messages.take(b) else { return }
            if hosts[a].isAsleep { return post(message, to: hosts[a], program: Int(event.c), after: .seconds(1)) }
            hosts[a].tell(Int(event.c), message)
        case .step: script[a]()
        }
    }

    func post(_ event: HostEvent, to host: SimulatedHost, program: Int, after span: TimeSpan) {
        push(Event(.message, host.index, messages.insert(event), program), at: now + span)
    }

    func report(_ failure: Failure) {
        failures.append(failure)
        note("\(failure)", at: "network")
    }

    // MARK: Packets

    /// Puts a packet on the link from an attachment's owner to its segment.
    func send(_ packet: Packet, on attachment: Int) {
        let place = attachments[attachment]
        recorder.sent(packet, on: place.segment, at: now)
        pass(packet, links[place.up])
    }

    private func pass(_ packet: Packet, _ link: Link) {
        packetCount &+= 1
        if link.isInstant, packet.byteCount <= 1500 { return emerge(packet, from: link) }
        var packet = packet
        switch link.pass(&packet, at: now) {
        case .dropped(let reason): drop(packet, reason, attachments[link.attachment].segment.name)
        case .tooBig(let mtu): reportTooBig(packet, mtu, link)
        case .arrives(let time, let again):
            push(Event(.arrival, link.index, underWay.insert(packet)), at: time)
            if let again { push(Event(.arrival, link.index, underWay.insert(packet)), at: again) }
        }
    }

    private func emerge(_ packet: Packet, from link: Link) {
        let place = attachments[link.attachment]
        switch link.end {
        case .segment: route(packet, on: place.segment, from: place)
        case .owner:
            switch place.owner {
            case .host(let host, let interface):
                guard host.interfaces[interface].isUp else { return drop(packet, .interfaceDown, host.name) }
                deliver(packet, to: host, at: now)
            case .insideOf(let gateway): gateway.receiveInside(packet)
            case .outsideOf(let gateway): gateway.receiveOutside(packet)
            }
        }
    }

    /// Hands a packet to a host, but never in the middle of what the host is doing.
    func deliver(_ packet: Packet, to host: SimulatedHost, at moment: Instant) {
        push(Event(.delivery, host.index, underWay.insert(packet)), at: moment)
    }

    /// Finds the way on a segment.
    private func route(_ packet: Packet, on segment: SimulatedSegment, from place: Attachment?) {
        let destination = packet.destination.ip
        if destination.isMulticast {
            guard !segment.isolatesHosts else { return drop(packet, .isolated, segment.name) }
            for member in segment.members where member != place?.index {
                pass(packet, links[attachments[member].down])
            }
            return
        }
        if let target = segment.route(destination) {
            let next = attachments[target]
            if segment.isolatesHosts, next.isHost, place?.isHost == true, target != place?.index {
                return drop(packet, .isolated, segment.name)
            }
            return pass(packet, links[next.down])
        }
        if !destination.isLinkLocal, let gateway = segment.gateway, gateway.insideAttachment != place?.index {
            return pass(packet, links[attachments[gateway.insideAttachment].down])
        }
        drop(packet, .noRoute, segment.name)
        if segment.reportsUnreachable { answer(packet, .hostUnreachable, on: segment) }
    }

    /// Answers a packet with an ICMP error of the segment's router.
    private func answer(_ packet: Packet, _ reason: ICMPReason, on segment: SimulatedSegment) {
        guard let router = segment.routers.first(where: { $0.family == packet.source.family }),
            let error = packet.error(reason, from: router)
        else { return }
        recorder.sent(error, on: segment, at: now)
        route(error, on: segment, from: nil)
    }

    private func reportTooBig(_ packet: Packet, _ mtu: Int, _ link: Link) {
        let place = attachments[link.attachment]
        drop(packet, .tooBig, place.segment.name)
        let reason = ICMPReason.packetTooBig(mtu: mtu)
        guard case .segment = link.end else { return answer(packet, reason, on: place.segment) }
        switch place.owner {
        case .host(let host, _):
            if let error = packet.error(reason, from: packet.source.ip) { deliver(error, to: host, at: now) }
        case .outsideOf(let gateway):
            let router = gateway.outsideAddresses.first { $0.family == packet.source.family }
            if let router, let error = packet.error(reason, from: router) { gateway.receiveOutside(error) }
        case .insideOf(let gateway):
            let router = gateway.insideAddresses.first { $0.family == packet.source.family }
            if let router, let error = packet.error(reason, from: router) { gateway.receiveInside(error) }
        }
    }

    /// The longest packet that an attachment's link takes.
    func mtu(of attachment: Int) -> Int { links[attachments[attachment].up].conditions.mtu }

    func drop(_ packet: Packet, _ reason: NetworkDrop, _ place: String) {
        drops.count(reason)
        recorder.dropped(packet, reason, place, at: now)
    }

    func recordDelivery(_ packet: Packet, to host: String) { recorder.delivered(packet, host, at: now) }

    /// Writes a line into the timeline.
    public func note(_ text: @autoclosure () -> String, at place: String) { recorder.note(text, place, at: now) }

    /// How to see the same again: for the message of a test that fails.
    public var replayHint: String {
        "seed \(seed), at \(Recorder.seconds(now)) after \(eventCount) events; the same seed shows the same again"
    }
}
