public import Connectivity
import Crypto
import EventLoop
import ICE
public import ICETransport
public import Instruments
import NetTypes
import PortMapping
import Resolution
public import STUN
import Synchronization
import TURN
import Transport

/// Examines one machine: interfaces, ways to servers, NAT, packet length, gateways, candidates; all at the same time.
public struct Examiner: Sendable {
    /// The ICE servers, and how candidates are gathered.
    public var configuration: ICESessionConfiguration
    /// The loop that gathers.
    public var loop: ICELoop
    /// How TLS and DTLS certificates of servers are judged, in this order.
    public var contexts: (tls: TLSChoice.Context, dtls: TLSChoice.Context)
    /// A web server that may serve TURN over TLS beside its pages.
    public var webServer: URIHost?
    /// Servers that are looked at, at most.
    private static let hostLimit = 4
    /// Ways that are tried at the same time, each on a thread.
    private static let threadLimit = 8

    /// Makes an examiner.
    public init(
        _ configuration: ICESessionConfiguration,
        _ loop: ICELoop,
        contexts: (tls: TLSChoice.Context, dtls: TLSChoice.Context),
        webServer: URIHost? = nil
    ) {
        self.configuration = configuration
        self.loop = loop
        self.contexts = contexts
        self.webServer = webServer
    }

    /// Does it all; takes six seconds, or ten where nothing answers.
    ///
    /// - Throws: If there is no connection or thread to be had.
    public func run() async throws -> Examination {
        var found = Examination()
        found.interfaces = Self.interfaces()
        async let gateways = Self.gateways()
        async let candidates = gather()
        async let nat = lookAtNAT()
        found.ways = await lookAtWays()
        found.packetLength = await measure(found.ways)
        found.gateways = await gateways
        found.nat = await nat
        (found.candidates, found.serverFailures) = try await candidates
        found.verdict = found.sentences
        return found
    }

    // MARK: This host

    private static func interfaces() -> [Examination.Interface] {
        let defaults = AddressFamily.allCases.compactMap { NetworkInterfaces.defaultSource($0) }
        var found: [Examination.Interface] = []
        for entry in (try? NetworkInterfaces.list()) ?? [] where entry.isUp && !entry.isLoopback {
            let text = "\(entry.address)/\(entry.prefixLength)"
            let isDefault = defaults.contains(entry.address)
            if let place = found.firstIndex(where: { $0.name == entry.name }) {
                found[place].addresses.append(text)
                found[place].isDefaultRoute = found[place].isDefaultRoute || isDefault
            } else {
                found.append(
                    .init(name: entry.name, kind: "\(entry.kind)", addresses: [text], isDefaultRoute: isDefault)
                )
            }
        }
        return found
    }

    private static func gateways() async -> [Examination.Gateway] {
        let reports = await onThread { try? GatewaySurvey.run() } ?? nil
        return (reports ?? []).flatMap { report in
            PortMappingProtocol.allCases.compactMap { name in
                let mapping = report.mappings[name]
                guard mapping != nil || report.failures[name] != nil else { return nil }
                return Examination.Gateway(
                    interface: report.interface,
                    gateway: "\(report.gateway)",
                    name: "\(name)",
                    external: mapping.map { "\($0.external)" },
                    isBehindAnotherNAT: mapping?.isBehindAnotherNAT,
                    failure: report.failures[name].map { "\($0)" }
                )
            }
        }
    }

    private func gather() async throws -> (candidates: [String], failures: [String]) {
        let connection = try loop.connection(configuration)
        connection.gather()
        for await update in connection.candidates {
            if case .done = update { break }
        }
        let report = await connection.report()
        await connection.close()
        let failures = report?.serverFailures.map { "\($0.server) over \($0.carrier): \($0.failure.words)" }
        return (report?.candidates.map(\.text) ?? [], failures ?? [])
    }

    // MARK: Servers

    private struct Attempt: Sendable {
        let host: URIHost
        let transport: TransportProtocol

        var query: ServerQuery {
            ServerQuery(STUNURI(host, isSecure: transport == .tls || transport == .dtls), over: transport)
        }
    }

    /// What is tried: each server's URIs, then the ports that servers usually have, and 443.
    private var attempts: [Attempt] {
        var list: [Attempt] = []
        func add(_ name: String, _ port: UInt16, _ transport: TransportProtocol) {
            guard !list.contains(where: { $0.host.name == name && $0.host.port == port && $0.transport == transport })
            else { return }
            list.append(Attempt(host: URIHost(name, port: port), transport: transport))
        }
        var names: [String] = []
        for uri in configuration.stunServers.prefix(ICESessionConfiguration.uriLimit) where !uri.isSecure {
            names.append(uri.host.name)
            for transport in [TransportProtocol.udp, .tcp] { add(uri.host.name, uri.port, transport) }
        }
        for uri in configuration.turnServers.flatMap(\.uris).prefix(ICESessionConfiguration.uriLimit) {
            names.append(uri.host.name)
            add(uri.host.name, uri.port, uri.carrier)
        }
        if let webServer { names.append(webServer.name) }
        var seen: Set<String> = []
        for name in names where seen.insert(name).inserted && seen.count <= Self.hostLimit {
            let isKnown = list.contains { $0.host.name == name }
            if !isKnown { for transport in [TransportProtocol.udp, .tcp] { add(name, 3478, transport) } }
            for transport in [TransportProtocol.tls, .dtls] { add(name, 5349, transport) }
            add(name, 443, .tls)
        }
        if let webServer { add(webServer.name, webServer.port ?? 443, .tls) }
        return list
    }

    private func lookAtWays() async -> [Examination.Way] {
        let attempts = attempts
        return await withTaskGroup(of: (Int, Examination.Way).self) { group in
            var found: [(Int, Examination.Way)] = []
            for (index, attempt) in attempts.enumerated() {
                if index >= Self.threadLimit, let way = await group.next() { found.append(way) }
                let context: TLSChoice.Context? =
                    switch attempt.transport {
                    case .tls: contexts.tls
                    case .dtls: contexts.dtls
                    case .udp, .tcp: nil
                    }
                group.addTask {
                    let way = await onThread { Self.look(attempt, context) }
                    return (index, way ?? Self.way(attempt, nil, failure: "there is no thread for it"))
                }
            }
            for await way in group { found.append(way) }
            return found.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private static func look(_ attempt: Attempt, _ context: TLSChoice.Context?) -> Examination.Way {
        do throws(InstrumentError) {
            guard let target = try ServerTarget.find(attempt.query, tls: context).first else {
                return way(attempt, nil, failure: "the name has no address")
            }
            var probe = STUNProbe(target)
            probe.count = 3
            probe.policy.reliableTimeout = .seconds(5)
            let report = try probe.run()
            guard report.answers.isEmpty else {
                var found = way(attempt, target.address, failure: nil)
                found.isOpen = true
                found.roundTripMilliseconds = report.roundTrips.map { Double($0.nanoseconds / 10_000) / 100 }
                return found
            }
            return way(attempt, target.address, failure: report.connectionFailure ?? "no answer")
        } catch {
            return way(attempt, nil, failure: "\(error)")
        }
    }

    private static func way(_ attempt: Attempt, _ address: SocketAddress?, failure: String?) -> Examination.Way {
        Examination.Way(
            transport: "\(attempt.transport)".uppercased(),
            server: "\(attempt.host)",
            address: address.map { "\($0)" },
            isOpen: false,
            roundTripMilliseconds: [],
            failure: failure
        )
    }

    private func lookAtNAT() async -> Examination.Translation? {
        guard let attempt = attempts.first(where: { $0.transport == .udp }) else { return nil }
        let report = await onThread { () -> NATReport? in
            guard let target = try? ServerTarget.find(attempt.query, tls: nil).first else { return nil }
            return try? NATProbe(target.address).run()
        }
        return (report ?? nil).map { Examination.Translation($0) }
    }

    /// Over the first way of UDP that is open.
    private func measure(_ ways: [Examination.Way]) async -> Examination.PacketLength? {
        guard let way = ways.first(where: { $0.isOpen && $0.transport == "UDP" }),
            let server = way.address.flatMap({ SocketAddress($0) })
        else { return nil }
        let report = await onThread { try? PathMTUProbe(server).run() } ?? nil
        return report.map { .init(longest: $0.longest, shortestLost: $0.shortestLost) }
    }
}

/// Runs what waits in system calls on a thread of its own; `nil` if there is none.
private func onThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result? {
    await withCheckedContinuation { continuation in
        let thread = try? LoopThread(name: "floe-probe") { continuation.resume(returning: body()) }
        if thread == nil { continuation.resume(returning: nil) }
    }
}

extension GatheringFailure {
    /// Why a server gave nothing, in words.
    public var words: String {
        switch self {
        case .silent: "it does not answer"
        case .refused(let code): "it refuses (\(code))"
        case .unreachable(.refused): "nobody takes the connection"
        case .unreachable(.unreachable): "no route leads there"
        case .unreachable(.timedOut): "the connection takes too long"
        case .unreachable(.notFound): "its name has no address"
        case .unreachable(.tlsFailed): "TLS fails, perhaps for its certificate"
        case .unreachable(.notPermitted): "the system does not permit it"
        case .unreachable(.exhausted): "there are no more sockets"
        case .unusableAnswer: "its answer cannot be used"
        case .unsupportedURI: "its URI asks for a transport that is not used here"
        }
    }
}
