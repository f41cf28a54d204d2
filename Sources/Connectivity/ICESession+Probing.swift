import Bytes
import ICE
public import NetTypes
import STUN

/// How far a session goes to pass one NAT whose mapping depends on the destination (a "hard" one), if it may at all.
///
/// The side behind it opens so many sockets towards the peer; the other side tries so many ports of it by chance. With S
/// sockets and P probes the chance is 1 - (1 - S / 64512)^P: 98 % for 256 and 1024. Both sides must be told to, and each
/// must have seen two STUN servers, to know which side it is. Nothing is done while ordinary checks may still succeed.
public struct PortProbing: Hashable, Sendable {
    /// Sockets that the hard side opens.
    public var sockets = 256
    /// Ports that the other side tries, each once.
    public var probes = 1024
    /// How many of them in a second, besides the ordinary checks.
    public var probesPerSecond = 50
    /// How long after the peer's description is known.
    public var delay = TimeSpan.seconds(5)

    /// Makes the defaults.
    public init() {}
}

/// What a session does for it.
struct ProbingState {
    /// Sockets beside those of the hosts.
    var sockets: [(base: BaseID, host: Int)] = []
    var hasBegun = false
    var isRunning = false
    var probeCount = 0
    /// What is being tried, the oldest first.
    var candidates: [(at: Instant, candidate: Candidate)] = []
    /// Where the peer's NAT is, as its candidates say.
    var peers: [SocketAddress] = []
}

/// Sockets and probes by the birthday paradox (opt-in).
extension ICESession {
    private static var probingTick: TimeSpan { .milliseconds(200) }
    /// How long one probe is waited for.
    private static var probingPatience: TimeSpan { .seconds(2) }

    /// The agent's limits with room for what probing adds.
    static func limits(for configuration: ICESessionConfiguration) -> ICEConfiguration {
        var ice = configuration.ice
        guard let probing = configuration.probing else { return ice }
        // A socket is paired with the peer's host and reflexive candidates.
        ice.pairLimit = max(ice.pairLimit, 100 + 4 * probing.sockets)
        ice.localCandidateLimit += probing.sockets
        ice.remoteCandidateLimit += probing.probesPerSecond * 4
        return ice
    }

    /// Notes where the peer may be reached from outside, and begins to wait for ordinary checks.
    mutating func noteForProbing(_ candidate: Candidate, at now: Instant) {
        guard let probing = configuration.probing, candidate.type == .serverReflexive, candidate.transport == .udp,
            let address = candidate.socketAddress, address.family == .ipv4, probingState.peers.count < 4
        else { return }
        if !probingState.peers.contains(where: { $0.ip == address.ip }) { probingState.peers.append(address) }
        guard !probingState.hasBegun else { return }
        probingState.hasBegun = true
        timers.push(.probing, at: now + probing.delay)
    }

    mutating func probingDue(at now: Instant) {
        guard let probing = configuration.probing, !isClosing else { return }
        guard agent.path() == nil else { return endProbing(at: now) }
        if !probingState.isRunning {
            probingState.isRunning = true
            if mappingIsDependent == true { openProbingSockets(probing.sockets, at: now) }
        }
        if mappingIsDependent == false { probe(probing, at: now) }
        timers.push(.probing, at: now + Self.probingTick)
    }

    /// Whether two servers saw one socket at different ports; `nil` if no two have told.
    private var mappingIsDependent: Bool? {
        let seen = agent.mappingObservations.filter { $0.mapped.family == .ipv4 }
        for first in seen {
            guard let other = seen.last(where: { $0.base == first.base && $0.observer != first.observer }) else {
                continue
            }
            return first.mapped != other.mapped
        }
        return nil
    }

    private mutating func openProbingSockets(_ count: Int, at now: Instant) {
        let place = hosts.indices.first { place in
            !hosts[place].isGone && hosts[place].base != nil && hosts[place].selected.address.family == .ipv4
        }
        guard let place else { return }
        let address = hosts[place].selected.address
        for _ in 0..<min(count, 1024) {
            want(.probe(host: place), within: configuration.deadlines.socket, holdsGathering: false, at: now) {
                .bindUDP($0, address)
            }
        }
    }

    mutating func probingSocketBound(_ place: Int, _ base: BaseID, _ local: SocketAddress, at now: Instant) {
        probingState.sockets.append((base, place))
        bases.append(BaseEntry(id: base, kind: .host(place)))
        var candidate = LocalCandidate(.host, local)
        // A foundation of its own: all are checked, not one for all.
        candidate.server = SocketAddress(IPAddress(ipv4: UInt32(probingState.sockets.count)), port: 9)
        candidate.networkCost = 999
        // Departure: it is not signalled (RFC 8838 §10.1). The peer finds its outside as a peer-reflexive candidate, if
        // at all; hundreds of host candidates would tell it nothing.
        _ = agent.addLocalCandidate(candidate, base: base, at: now)
    }

    private mutating func probe(_ probing: PortProbing, at now: Instant) {
        while let first = probingState.candidates.first, now - first.at >= Self.probingPatience {
            probingState.candidates.removeFirst()
            agent.removeRemoteCandidate(first.candidate, at: now)
        }
        guard let peer = probingState.peers.first else { return }
        for _ in 0..<max(1, probing.probesPerSecond / 5) where probingState.probeCount < probing.probes {
            probingState.probeCount += 1
            let candidate = Candidate(
                foundation: "probe\(probingState.probeCount)",
                priority: 1 + UInt32(probingState.probeCount),
                address: .ip(peer.ip),
                port: UInt16.random(in: 1024...65_535, using: &entropy),
                type: .serverReflexive,
                related: SocketAddress(.unspecified(.ipv4), port: 9)
            )
            guard agent.addRemoteCandidate(candidate, at: now) == .added else { continue }
            probingState.candidates.append((now, candidate))
        }
    }

    /// Closes what has not led to the peer.
    mutating func endProbing(at now: Instant) {
        let used = agent.path()?.base
        for (base, _) in probingState.sockets where base != used { closeProbingSocket(base, at: now) }
        probingState.sockets.removeAll { $0.base != used }
        probingState.candidates = []
    }

    mutating func closeProbingSockets(of place: Int, at now: Instant) {
        for (base, host) in probingState.sockets where host == place { closeProbingSocket(base, at: now) }
        probingState.sockets.removeAll { $0.host == place }
    }

    private mutating func closeProbingSocket(_ base: BaseID, at now: Instant) {
        agent.removeBase(base, at: now)
        bases.removeAll { $0.id == base }
        want(.close(base))
    }
}
