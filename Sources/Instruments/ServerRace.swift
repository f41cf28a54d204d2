import Bytes
import EventLoop
public import NetTypes
import Resolution
public import STUN

/// Finds out which of several servers answers first (RFC 8305): by a connection over TCP or TLS, by a Binding
/// transaction over UDP.
public struct ServerRace: Sendable {
    /// The servers, the one to try first in front.
    public var targets: [ServerTarget]
    /// The pause between two attempts.
    public var delay = TimeSpan.milliseconds(250)
    /// How long and how often a request is repeated.
    public var policy = RetransmissionPolicy.impatient

    /// Makes a race; there must be a server.
    public init(_ targets: [ServerTarget]) { self.targets = targets }

    /// The first server that answers; where none does, the first of the list, which then has to say why.
    ///
    /// - Throws: A sentence, if there is no socket to be had.
    public func winner() throws(InstrumentError) -> ServerTarget? {
        guard targets.count > 1 else { return targets.first }
        var race = ConnectionRace(count: targets.count, delay: delay, at: MonotonicClock.now())
        var running: [Int: Contestant] = [:]
        var links = try LinkSet([])
        while race.winner == nil, !race.isLost {
            let now = MonotonicClock.now()
            while let index = race.pollAttempt(at: now) {
                guard let contestant = try? Contestant(targets[index], policy, at: now) else {
                    race.failed(index, at: now)
                    continue
                }
                running[index] = contestant
                try links.add(contestant.link)
            }
            let timeouts = running.values.map(\.nextTimeout) + [race.nextTimeout ?? .distantFuture]
            _ = try links.wait(until: timeouts.min() ?? now)
            for (index, contestant) in running {
                switch contestant.turn(at: MonotonicClock.now()) {
                case nil: continue
                case true?: _ = race.succeeded(index)
                case false?: race.failed(index, at: MonotonicClock.now())
                }
                running[index] = race.winner == nil ? nil : contestant
            }
        }
        return targets[race.winner ?? 0]
    }
}

/// One server of a race.
private final class Contestant {
    let link: any Link
    private var client: STUNClient?
    private let deadline: Instant

    init(_ target: ServerTarget, _ policy: RetransmissionPolicy, at now: Instant) throws(InstrumentError) {
        link = try target.open()
        deadline = now + policy.reliableTimeout
        guard !target.transport.isStream else { return }
        client = STUNClient(server: target.address, transport: target.transport, policy: policy)
        _ = client?.query(at: now)
        transmit(at: now)
    }

    var nextTimeout: Instant { client?.nextTimeout ?? deadline }

    /// Takes what has come; whether the server is there, `nil` while nobody knows.
    func turn(at now: Instant) -> Bool? {
        if client == nil {
            link.receive { _, _ in }
            // Finds out that TCP is connected, which no later event would tell.
            link.flush()
            if link.failure != nil || now >= deadline { return false }
            return link.isReady ? true : nil
        }
        link.receive { bytes, source in _ = client?.receive(bytes, from: source, at: now) }
        client?.handleTimeout(at: now)
        transmit(at: now)
        switch client?.pollEvent() {
        case .answered?, .failed(.refused)?: return true
        case .failed(.transaction)?: return false
        case nil: return nil
        }
    }

    private func transmit(at now: Instant) {
        while client != nil {
            let bytes = buildBytes(capacity: STUNClient.maximumMessageByteCount) { output in
                _ = client?.pollTransmit(at: now, into: &output)
            }
            guard !bytes.isEmpty else { return }
            link.send(bytes.span)
        }
    }
}
