import EventLoop
public import NetTypes
public import Resolution
import STUN
import Transport

/// Finds a server's addresses and waits for them: for tools, which have nothing else to do meanwhile.
public enum ServerFinder {
    /// The candidates in the order in which to try them.
    ///
    /// - Throws: `ResolutionError`, also if no answers come in time.
    public static func candidates(
        of query: ServerQuery,
        nameServers: [SocketAddress] = [],
        patience: TimeSpan = .seconds(10)
    ) throws(ResolutionError) -> [ServerCandidate] {
        var resolution = ServerResolution(query)
        if resolution.outcome == nil {
            do throws(SystemError) {
                try ask(&resolution, nameServers, until: MonotonicClock.now() + patience)
            } catch {
                throw .lookupFailed(query.host.name, .unreachable)
            }
            resolution.giveUpWaiting()
        }
        let found: [ServerCandidate]
        switch resolution.outcome {
        case .success(let list)?: found = list
        case .failure(let error)?: throw error
        case nil: throw .lookupFailed(query.host.name, .timedOut)
        }
        return DestinationOrder.sorted(found) { NetworkInterfaces.source(toward: $0) }
    }

    /// The TURN servers of a domain, or of this machine's domains (RFC 8155 §4); none if there are none.
    ///
    /// What has to be proven before one of them is used, `DiscoveredServer.proof` tells.
    public static func discover(
        in domain: String? = nil,
        supported: [TransportProtocol] = TransportProtocol.allCases,
        nameServers: [SocketAddress] = [],
        patience: TimeSpan = .seconds(10)
    ) -> [DiscoveredServer] {
        let domains = domain.map { [$0] } ?? (try? NameResolver(servers: nameServers).localDomains) ?? []
        var found: [DiscoveredServer] = []
        for domain in domains {
            let query = ServerQuery(discoveringIn: domain, supported: supported)
            let list = try? candidates(of: query, nameServers: nameServers, patience: patience)
            found += ServerDiscovery.servers(list ?? [], of: domain)
        }
        return found
    }

    /// The addresses of a host, for what is no STUN or TURN server, in the order in which to try them.
    ///
    /// - Throws: `ResolutionError`, also if no answers come in time.
    public static func addresses(of host: String, port: UInt16) throws(ResolutionError) -> [SocketAddress] {
        // With a port, nothing but addresses is looked up (RFC 8489 §8).
        try candidates(of: ServerQuery(STUNURI(URIHost(host, port: port)), over: .tcp)).map(\.address)
    }

    private static func ask(
        _ resolution: inout ServerResolution,
        _ nameServers: [SocketAddress],
        until deadline: Instant
    ) throws(SystemError) {
        var resolver = try NameResolver(servers: nameServers)
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(resolver.descriptor, token: 0, interest: .read)
        while true {
            while let question = resolution.pollQuestion() { resolver.ask(question) }
            while let (question, answer) = resolver.pollAnswer() { resolution.receive(answer, to: question) }
            guard resolution.outcome == nil else { return }
            let now = MonotonicClock.now()
            guard now < deadline else { return }
            guard resolution.hasNoQuestion else { continue }
            try poller.wait(until: min(deadline, resolver.nextTimeout(at: now) ?? deadline), into: &events)
            resolver.process()
        }
    }
}
