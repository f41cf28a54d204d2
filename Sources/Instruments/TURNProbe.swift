import Crypto
import EventLoop
public import NetTypes
public import STUN
public import TURN

/// Proves that a TURN server relays: makes two allocations and sends data from one to the other and back.
public struct TURNProbe: Sendable {
    /// What came of it.
    public struct Report: Sendable {
        /// The server that has made the allocations, after redirections.
        public var server: SocketAddress
        /// What has carried the messages.
        public var transport: TransportProtocol
        /// The first allocation.
        public var allocation: TURNAllocation?
        /// The second one.
        public var second: TURNAllocation?
        /// How long the first allocation took, with the connection and the challenge.
        public var allocateTime: TimeSpan?
        /// How many datagrams were sent.
        public var sent = 0
        /// How long each took to the other allocation and back: four times through the server.
        public var roundTrips: [TimeSpan] = []
        /// What came of the file.
        public var transfer: Transfer?
        /// What did not work, in a sentence; `nil` if all did.
        public var failure: String?
    }

    /// How a file went from one allocation to the other.
    public struct Transfer: Hashable, Sendable {
        /// How many bytes it has.
        public let byteCount: Int
        /// How long it took.
        public let elapsed: TimeSpan
        /// How many pieces of 1024 bytes were sent more than once.
        public let repeatedPieces: Int
        /// Whether the same bytes have arrived.
        public let isIntact: Bool
        /// The SHA-256 of what has arrived.
        public let digest: [UInt8]
    }

    /// The server.
    public var target: ServerTarget
    /// Where to go if the server does not answer or has no room: another one, or the same over another transport.
    public var fallbacks: [ServerTarget] = []
    /// How to show that the server may be used.
    public var credentials: TURNClientCredentials
    /// How many datagrams to send.
    public var count = 5
    /// What to send besides, in pieces.
    public var file: [UInt8]?
    /// How long one datagram may take.
    public var patience = TimeSpan.seconds(2)
    /// How long and how often each request is repeated.
    public var policy = RetransmissionPolicy.impatient
    /// Is told how many bytes of the file have arrived, about four times a second.
    public var progress: (@Sendable (Int) -> Void)?
    /// Families to ask for.
    public var families = RequestedFamilies.unspecified
    /// Whether the server is at an anycast address, and has to name another (RFC 8155 §6).
    public var isAnycast = false
    /// Whether to have the server relay a connection of TCP in place of datagrams (RFC 6062).
    public var relaysConnections = false

    /// Makes a probe of a server.
    public init(_ target: ServerTarget, _ credentials: TURNClientCredentials) {
        self.target = target
        self.credentials = credentials
    }

    /// Does it all; `failure` in the report says how far it went.
    ///
    /// - Throws: A sentence, if there is no socket to be had or the credentials cannot be used.
    public func run() throws(InstrumentError) -> Report {
        var report = Report(server: target.address, transport: target.transport)
        let started = MonotonicClock.now()
        guard let (first, place) = try allocate(&report, at: target, or: fallbacks, nil) else { return report }
        report.allocation = first.allocation
        report.allocateTime = first.allocatedAt.map { $0 - started }
        var others = self
        // Wherever the first was led, the second goes at once.
        others.isAnycast = false
        guard let (second, _) = try others.allocate(&report, at: place, or: [], first.challenge) else { return report }
        report.second = second.allocation
        if relaysConnections {
            try echoConnected(first, second, at: place, &report)
            return report
        }
        var pair = try Pair(first, second)
        if try pair.connect() {
            try echo(&pair, &report)
            if report.failure == nil, let file { try send(file, &pair, &report) }
        } else {
            report.failure = pair.failure ?? "the channels between the two allocations were not bound in time"
        }
        try pair.close()
        return report
    }

    // MARK: Allocating

    /// Makes an allocation, as far as the planner of retries allows it at once; where one server cannot, the next is
    /// asked (RFC 5928 §3).
    private func allocate(
        _ report: inout Report,
        at first: ServerTarget,
        or others: [ServerTarget],
        _ challenge: LongTermChallenge?
    ) throws(InstrumentError) -> (TURNEndpoint, ServerTarget)? {
        var planner = TURNRetryPlanner()
        var (target, rest) = (first, others[...])
        var isAnycast = isAnycast
        while true {
            var configuration = TURNClientConfiguration(
                server: target.address,
                transport: target.transport,
                credentials
            )
            configuration.challenge = challenge
            configuration.families = families
            configuration.retransmission = policy
            configuration.isAnycast = isAnycast
            if relaysConnections { configuration.relayed = .tcp }
            let endpoint = try TURNEndpoint(configuration, target)
            var links = try LinkSet([endpoint.link])
            endpoint.start()
            while endpoint.allocation == nil, endpoint.end == nil {
                _ = try links.wait(until: endpoint.nextTimeout)
                endpoint.turn()
            }
            guard case .failed(let failure)? = endpoint.end else {
                report.failure = nil
                (report.server, report.transport) = (target.address, target.transport)
                return (endpoint, target)
            }
            let words = endpoint.link.failure ?? "\(failure)"
            switch planner.plan(after: failure, at: target.address, port: .any, now: MonotonicClock.now()) {
            case .again, .fromOtherAddress: continue
            case .otherServer(let server, let domain):
                target.address = server
                isAnycast = false
                if let domain, let tls = target.tls { target.tls = TLSChoice(tls.context, serverName: domain) }
            case .wait(let until):
                report.failure = "\(words); try again in \((until - MonotonicClock.now()).seconds + 1) s"
                guard let next = rest.popFirst() else { return nil }
                target = next
            case .otherTransport, .withoutPortRequest:
                report.failure = words
                guard let next = rest.popFirst() else { return nil }
                target = next
            case .giveUp:
                report.failure = words
                return nil
            }
            (report.server, report.transport) = (target.address, target.transport)
        }
    }

    // MARK: Sending

    private func echo(_ pair: inout Pair, _ report: inout Report) throws(InstrumentError) {
        for number in 0..<count {
            let payload = Array("floe \(number)".utf8)
            let start = MonotonicClock.now()
            pair.first.send(payload, to: pair.secondAddress)
            report.sent += 1
            while MonotonicClock.now() < start + patience {
                try pair.wait(until: start + patience)
                for data in pair.second.takeReceived() { pair.second.send(data.bytes, to: data.from) }
                if pair.first.takeReceived().contains(where: { $0.bytes == payload }) {
                    report.roundTrips.append(MonotonicClock.now() - start)
                    break
                }
                if let failure = pair.failure {
                    report.failure = failure
                    return
                }
            }
        }
        if report.roundTrips.isEmpty, count > 0 {
            report.failure = "the server made two allocations, but no data came from one to the other"
        }
    }

    private func send(_ file: [UInt8], _ pair: inout Pair, _ report: inout Report) throws(InstrumentError) {
        var sender = FileSender(file)
        var receiver = FileReceiver(byteCount: file.count)
        let start = MonotonicClock.now()
        var (progress, told) = (start, start)
        while !sender.isDone {
            let now = MonotonicClock.now()
            while let piece = sender.nextPiece(at: now) { pair.first.send(piece, to: pair.secondAddress) }
            try pair.wait(until: sender.nextTimeout ?? now + patience)
            for data in pair.second.takeReceived() {
                guard let acknowledgement = receiver.receive(data.bytes) else { continue }
                pair.second.send(acknowledgement, to: data.from)
            }
            for data in pair.first.takeReceived() {
                sender.receive(data.bytes)
                progress = now
            }
            if let tell = self.progress, now >= told + .milliseconds(250) {
                told = now
                tell(receiver.arrivedByteCount)
            }
            if pair.failure == nil, now < progress + TimeSpan.seconds(10) { continue }
            report.failure = pair.failure ?? "the file got stuck: nothing came through for ten seconds"
            return
        }
        let isIntact = receiver.isComplete && receiver.bytes == file
        report.transfer = Transfer(
            byteCount: file.count,
            elapsed: MonotonicClock.now() - start,
            repeatedPieces: sender.repeated,
            isIntact: isIntact,
            digest: MessageDigest.sha256(receiver.bytes)
        )
        if !isIntact { report.failure = "the file came through with other bytes than were sent" }
    }
}

/// Two allocations that talk to each other.
private struct Pair: ~Copyable {
    let first: TURNEndpoint
    let second: TURNEndpoint
    let firstAddress: SocketAddress
    let secondAddress: SocketAddress
    private var links: LinkSet

    init(_ first: TURNEndpoint, _ second: TURNEndpoint) throws(InstrumentError) {
        guard let firstAddress = first.allocation?.relayed.first, let secondAddress = second.allocation?.relayed.first
        else { throw InstrumentError("the server ended an allocation at once") }
        links = try LinkSet([first.link, second.link])
        self.first = first
        self.second = second
        self.firstAddress = firstAddress
        self.secondAddress = secondAddress
    }

    /// What has ended one of the two.
    var failure: String? {
        for endpoint in [first, second] {
            if let failure = endpoint.link.failure { return failure }
            if case .failed(let failure)? = endpoint.end { return "\(failure)" }
        }
        return nil
    }

    /// Binds a channel in each direction.
    mutating func connect() throws(InstrumentError) -> Bool {
        first.bind(secondAddress)
        second.bind(firstAddress)
        let deadline = MonotonicClock.now() + .seconds(40)
        while MonotonicClock.now() < deadline, failure == nil {
            if first.isBound, second.isBound { return true }
            try wait(until: deadline)
        }
        return false
    }

    mutating func wait(until deadline: Instant) throws(InstrumentError) {
        _ = try links.wait(until: min(deadline, min(first.nextTimeout, second.nextTimeout)))
        first.turn()
        second.turn()
    }

    /// Deletes both allocations; waits a little for the server to say so.
    mutating func close() throws(InstrumentError) {
        first.close()
        second.close()
        let deadline = MonotonicClock.now() + .seconds(2)
        while MonotonicClock.now() < deadline, first.end == nil || second.end == nil { try wait(until: deadline) }
    }
}
