public import NetTypes
public import Simulation

/// The least time in which two hosts behind one NAT each can have a direct path: a model without sockets, timers or ICE.
///
/// Endpoints are labels; a NAT gives its host a label for each label of the peer, as its mapping says, and lets in what its
/// filter says. Each side sends a check in the moment in which it learns of a label and in which it is asked from one
/// (RFC 8445 §7.3.1.4), to all labels at once, and nothing is lost: one round trip for most, one and a half where both NATs
/// filter and the first check comes too early. Only where no such check comes through are checks repeated, and then after
/// the round trip that shows that they were lost. Only pacing, and what else an agent has to do, may take more.
public struct PathFloor: Sendable {
    /// How long things take.
    public struct Times: Sendable {
        /// From host to host, or from a host to the server.
        public var way = TimeSpan.milliseconds(20)
        /// A name.
        public var name = TimeSpan.milliseconds(20)
        /// A message over the signaling channel.
        public var signal = TimeSpan.milliseconds(50)

        /// Makes those of `CallRun`.
        public init() {}
    }

    /// An outer endpoint: whose, for which address of the peer, and for which port of it; -1 stands for "any".
    private struct Label: Hashable {
        let side: Int
        let address: Int
        let port: Int
    }

    private struct Side {
        let behavior: NATBehavior?
        /// From when on it may send checks: it has the other side's description.
        var maySend = Instant.zero
        /// When its NAT was opened, from which label of its own to which of the peer.
        var open: [Label: [Label: Instant]] = [:]
        /// Of which labels of the peer it has an answer.
        var answered: Set<Label> = []
        /// When it has the first answer.
        var firstAnswer = Instant.distantFuture
    }

    private enum Event {
        case send(side: Int, to: Label, repeats: Int)
        case arrive(from: Label, to: Label)
        case answer(side: Int, from: Label)
    }

    /// When the first of the two sides can have a path, from the answerer's start; `nil` if no direct path exists.
    public private(set) var firstPath: TimeSpan?
    /// When both can have it.
    public private(set) var bothPaths: TimeSpan?

    private var sides: [Side]
    private var numbers: [Label: Int] = [:]
    private var events: [(time: Instant, event: Event)] = []
    private let times: Times
    /// The answerer's start; the offer was sent one message earlier.
    private static let start = Instant(nanoseconds: 1_000_000_000_000)
    /// Two NATs that map by port and let everybody in learn of ever new labels.
    private static let eventLimit = 400

    /// Works out the times of a call with trickled candidates, IPv4 alone, between an offerer's NAT and an answerer's.
    public init(_ offerer: NATBehavior?, _ answerer: NATBehavior?, _ times: Times = Times()) {
        self.times = times
        sides = []
        run(offerer, answerer, repeats: 0)
        if bothPaths == nil { run(offerer, answerer, repeats: 3) }
    }

    private mutating func run(_ offerer: NATBehavior?, _ answerer: NATBehavior?, repeats: Int) {
        sides = [Side(behavior: offerer), Side(behavior: answerer)]
        numbers = [:]
        events = []
        learnCandidates(repeats)
        var count = 0
        while let place = events.indices.min(by: { events[$0].time < events[$1].time }), count < Self.eventLimit {
            count += 1
            let next = events.remove(at: place)
            handle(next.event, at: next.time)
        }
        let (one, other) = (sides[0].firstAnswer, sides[1].firstAnswer)
        if min(one, other) < .distantFuture { firstPath = min(one, other) - Self.start }
        if max(one, other) < .distantFuture { bothPaths = max(one, other) - Self.start }
    }

    // MARK: Labels

    private mutating func number(_ label: Label) -> Int {
        if let number = numbers[label] { return number }
        numbers[label] = numbers.count
        return numbers.count - 1
    }

    private mutating func source(_ side: Int, to target: Label) -> Label {
        switch sides[side].behavior?.mapping ?? .endpointIndependent {
        case .endpointIndependent: Label(side: side, address: -1, port: -1)
        case .addressDependent: Label(side: side, address: target.side, port: -1)
        case .addressAndPortDependent: Label(side: side, address: target.side, port: number(target))
        }
    }

    /// Whether the NAT behind a label lets in what comes from a source.
    private func lets(_ target: Label, from source: Label) -> Bool {
        let side = sides[target.side]
        // Without a NAT there is nothing to be opened.
        guard let behavior = side.behavior else { return true }
        let invited = side.open[target] ?? [:]
        return switch behavior.filtering {
        case .endpointIndependent: !invited.isEmpty
        case .addressDependent: invited.keys.contains { $0.side == source.side }
        case .addressAndPortDependent: invited[source] != nil
        }
    }

    // MARK: Times

    /// Candidates: host ones at once where they are outer addresses, the others after a name and a round trip.
    private mutating func learnCandidates(_ repeats: Int) {
        // The server is a third side.
        let server = Label(side: 2, address: -1, port: -1)
        let starts = [Instant(nanoseconds: Self.start.nanoseconds - times.signal.nanoseconds), Self.start]
        sides[0].maySend = Self.start + times.signal
        sides[1].maySend = Self.start
        for side in 0..<2 {
            let label = source(side, to: server)
            sides[side].open[label, default: [:]][server] = starts[side] + times.name
            let isOuter = sides[side].behavior == nil
            let found = isOuter ? starts[side] : starts[side] + times.name + times.way * 2
            plan(.send(side: 1 - side, to: label, repeats: repeats), max(found + times.signal, sides[1 - side].maySend))
        }
    }

    private mutating func plan(_ event: Event, _ time: Instant) { events.append((time, event)) }

    private mutating func handle(_ event: Event, at now: Instant) {
        switch event {
        case .send(let side, let target, let repeats):
            guard !sides[side].answered.contains(target) else { return }
            let own = source(side, to: target)
            sides[side].open[own, default: [:]][target] = now
            plan(.arrive(from: own, to: target), now + times.way)
            if repeats > 0 { plan(.send(side: side, to: target, repeats: repeats - 1), now + times.way * 2) }
        case .arrive(let source, let target):
            guard lets(target, from: source) else { return }
            let peer = target.side
            let leaving = self.source(peer, to: source)
            sides[peer].open[leaving, default: [:]][source] = now
            // The answer leaves the label that was asked, or the path is none.
            if leaving == target { plan(.answer(side: source.side, from: target), now + times.way) }
            guard !sides[peer].answered.contains(source) else { return }
            plan(.send(side: peer, to: source, repeats: 0), max(now, sides[peer].maySend))
        case .answer(let side, let label):
            sides[side].answered.insert(label)
            sides[side].firstAnswer = min(sides[side].firstAnswer, now)
        }
    }
}
