import FastPath
import NetTypes
import TURNServer

/// What the kernel relays of one channel: either direction, or both, or nothing yet.
struct ChannelFlows {
    /// A direction that is open.
    struct Open {
        let slot: FlowSlot
        var until: Instant
        /// What its place had counted when that was last looked at.
        var counted: FlowTraffic
    }

    /// The ways from this host to both ends.
    struct Routes: Equatable {
        let toClient: FlowRoute
        let toPeer: FlowRoute
    }

    var path: ChannelPath
    var toPeer: Open?
    var toClient: Open?
    /// The routes that the open directions take, and until when they are believed.
    var routes: Routes?
    var routesUntil = Instant.zero
    /// What was refused is not tried again before that.
    var retriesAt = Instant.zero
    /// The last update that it was part of.
    var round: UInt32

    init(_ path: ChannelPath, round: UInt32) {
        self.path = path
        self.round = round
    }

    var isOpen: Bool { toPeer != nil || toClient != nil }

    /// Whether the kernel could relay something that it does not.
    func lacksFlow(at now: Instant) -> Bool {
        now >= retriesAt
            && (toPeer == nil && path.toPeerUntil > now || toClient == nil && path.toClientUntil > now)
    }

    /// Whether the same packets go the same way, for however long.
    func leads(like other: ChannelPath) -> Bool {
        path.client == other.client && path.relay == other.relay && path.peer == other.peer
            && path.channel == other.channel
    }
}

extension ChannelPath {
    var flowToPeer: RelayedFlow {
        .toPeer(from: client.remote, at: client.local, channel: channel, relay: relay, peer: peer)
    }

    var flowToClient: RelayedFlow {
        .toClient(client.remote, from: client.local, channel: channel, relay: relay, peer: peer)
    }
}

/// Routes as the kernel has told them a short while ago: a request about many channels asks for few of them.
struct KnownRoutes {
    private struct Ends: Hashable {
        let local: IPAddress
        let remote: IPAddress
    }

    private struct Answer {
        let route: FlowRoute?
        let until: Instant
    }

    /// How long a route is believed.
    static let time = TimeSpan.seconds(60)
    private static let limit = 4096
    private var answers: [Ends: Answer] = [:]

    /// The route, or `nil` if there is none; `ask` is called if that is not known.
    mutating func route(
        from local: IPAddress,
        to remote: IPAddress,
        at now: Instant,
        ask: (IPAddress, IPAddress) -> FlowRoute?
    ) -> FlowRoute? {
        let ends = Ends(local: local, remote: remote)
        if let answer = answers[ends], now < answer.until { return answer.route }
        if answers.count >= Self.limit { answers.removeAll(keepingCapacity: true) }
        let route = ask(local, remote)
        answers[ends] = Answer(route: route, until: now + Self.time)
        return route
    }
}
