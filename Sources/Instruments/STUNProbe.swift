import Bytes
import EventLoop
public import NetTypes
public import STUN

/// Asks a server several times, one after the other, from which address it sees us.
public struct STUNProbe: Sendable {
    /// What came of the queries.
    public struct Report: Sendable {
        /// The answers in order.
        public var answers: [STUNClient.Answer] = []
        /// How many queries have failed.
        public var failures: [STUNClient.Failure] = []
        /// Why the connection ended, if it did.
        public var connectionFailure: String?

        /// The address that the server saw last.
        public var mapped: SocketAddress? { answers.last?.mapped }
        /// The times of the answers to requests that were sent once.
        public var roundTrips: [TimeSpan] { answers.filter { $0.sentCount == 1 }.map(\.elapsed) }
    }

    /// The server.
    public var target: ServerTarget
    /// How many queries to make.
    public var count = 5
    /// How long and how often each query is repeated.
    public var policy = RetransmissionPolicy.impatient

    /// Makes a probe of a server.
    public init(_ target: ServerTarget) { self.target = target }

    /// Makes the queries and waits for each; one without any answer is the last.
    ///
    /// - Throws: A sentence, if there is no socket to be had.
    public func run() throws(InstrumentError) -> Report {
        let link = try target.open()
        var links = try LinkSet([link])
        var client = STUNClient(server: target.address, transport: target.transport, policy: policy)
        var report = Report()
        // The time of connecting is no part of the first answer's.
        let deadline = MonotonicClock.now() + policy.reliableTimeout
        link.flush()
        while !link.isReady, link.failure == nil, MonotonicClock.now() < deadline {
            _ = try links.wait(until: deadline)
            link.receive { _, _ in }
            // Finds out that TCP is connected, which no later event would tell.
            link.flush()
        }
        guard link.isReady else {
            report.connectionFailure = link.failure
            report.failures.append(.transaction(link.failure == nil ? .timedOut : .transportFailed))
            return report
        }
        for _ in 0..<count where report.failures.isEmpty {
            _ = client.query(at: MonotonicClock.now())
            while let next = client.nextTimeout {
                Self.transmit(&client, link)
                let ready = try links.wait(until: next)
                let now = MonotonicClock.now()
                if !ready.isEmpty { link.receive { bytes, source in _ = client.receive(bytes, from: source, at: now) } }
                if let failure = link.failure {
                    report.connectionFailure = failure
                    client.transportFailed()
                }
                client.handleTimeout(at: now)
            }
            while let event = client.pollEvent() {
                switch event {
                case .answered(let answer): report.answers.append(answer)
                case .failed(let failure): report.failures.append(failure)
                }
            }
        }
        return report
    }

    private static func transmit(_ client: inout STUNClient, _ link: any Link) {
        while true {
            let bytes = buildBytes(capacity: STUNClient.maximumMessageByteCount) { output in
                _ = client.pollTransmit(at: MonotonicClock.now(), into: &output)
            }
            guard !bytes.isEmpty else { return }
            link.send(bytes.span)
        }
    }
}
