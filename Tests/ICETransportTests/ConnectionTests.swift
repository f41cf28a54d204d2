import Connectivity
import Crypto
import Diagnostics
import Glibc
import ICE
import ICETransport
import NetTypes
import STUN
import ServiceTestSupport
import TURN
import Testing

@Suite(.serialized) struct ConnectionTests {
    /// How many sockets this process has, a loop's own among them; the runtime opens other descriptors when it likes.
    private static func socketCount() -> Int {
        (0..<4096).count { number in
            var status = stat()
            // The kernel writes it during the call only.
            return unsafe fstat(Int32(number), &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
        }
    }

    private static func run(
        _ loop: ICELoop,
        signaling transform: @escaping @Sendable (Candidate) -> Candidate? = { $0 },
        change: (inout ICESessionConfiguration) -> Void = { _ in }
    ) async throws -> (ICEReport, ICEReport) {
        let pair = try Pair(loop, nil, change)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await pair.signal(transform) }
            #expect(await pair.connect())
            let (one, other) = await pair.exchange()
            #expect(one == Array("from the second".utf8))
            #expect(other == Array("from the first".utf8))
            let reports = try await (#require(pair.first.report()), #require(pair.second.report()))
            await pair.close()
            try await group.waitForAll()
            return reports
        }
    }

    @Test func `two connections of one loop find each other over UDP`() async throws {
        let loop = try ICELoop()
        let (first, second) = try await Self.run(loop)
        #expect(first.verdict.outcome == .direct)
        #expect(second.verdict.outcome == .direct)
        #expect(loop.connectionCount == 0)
        loop.stop()
    }

    @Test func `TCP candidates connect where there is no UDP`() async throws {
        let loop = try ICELoop()
        let (first, _) = try await Self.run(loop) {
            $0.transport == .tcp ? $0 : nil
        } change: {
            $0.usesTCP = true
        }
        #expect(first.verdict.outcome == .direct)
        loop.stop()
    }

    @Test func `a relay connects those who take nothing else`() async throws {
        let relay = try TestTURN()
        let loop = try ICELoop()
        let (first, second) = try await Self.run(loop) {
            $0
        } change: {
            $0.policy = .relay
            $0.turnServers = [relay.server]
        }
        #expect(first.verdict.outcome == .relayed)
        #expect(second.verdict.outcome == .relayed)
        #expect(first.candidates.allSatisfy { $0.type == .relayed })
        loop.stop()
        relay.stop()
    }

    @Test func `a relay is reached over DTLS, if its certificate is to be trusted`() async throws {
        let relay = try TestTURN()
        var options = ICELoopOptions()
        options.dtls = try DTLSContext(clientTrust: relay.trust, applicationProtocols: ["stun.turn"])
        let loop = try ICELoop(options)
        let (first, second) = try await Self.run(loop) {
            $0
        } change: {
            $0.policy = .relay
            $0.turnServers = [relay.secureServer]
        }
        #expect(first.verdict.outcome == .relayed && second.verdict.outcome == .relayed)
        loop.stop()
        let stranger = try ICELoop()
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesLoopback = true
        configuration.usesPortMapping = false
        configuration.policy = .relay
        configuration.turnServers = [relay.secureServer]
        configuration.deadlines.connection = .seconds(60)
        let connection = try stranger.connection(configuration)
        connection.gather()
        for await update in connection.candidates {
            if case .done = update { break }
        }
        let failures = await connection.report()?.serverFailures.map(\.failure)
        #expect(failures?.contains(.unreachable(.tlsFailed)) == true)
        stranger.stop()
        relay.stop()
    }

    @Test func `one port serves fifty connections, their restarts and their relays`() async throws {
        let relay = try TestTURN()
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        let clients = try ICELoop(options)
        options.sharedPort = 0
        let loop = try ICELoop(options)
        let pairs = try (0..<50).map { number in
            try Pair(loop, clients) { configuration in
                if number == 0 {
                    configuration.policy = .relay
                    configuration.turnServers = [relay.server]
                }
                configuration.stunServers = [STUNURI(relay.server.uris[0].host)]
            }
        }
        await withTaskGroup(of: Void.self) { group in
            for pair in pairs { group.addTask { await pair.signal() } }
            var ports: Set<UInt16> = []
            for (number, pair) in pairs.enumerated() {
                #expect(await pair.connect())
                if number % 10 == 0 { #expect(await pair.first.restart() != nil) }
                let (one, other) = await pair.exchange()
                #expect(one == Array("from the second".utf8) && other == Array("from the first".utf8))
                let report = await pair.first.report()
                #expect(report?.isRelayed == (number == 0))
                for candidate in report?.candidates ?? [] where candidate.type == .host {
                    if candidate.address == .ip(.loopback(.ipv4)) { ports.insert(candidate.port) }
                }
            }
            #expect(ports.count == 1)
            for pair in pairs { await pair.close() }
        }
        #expect(loop.connectionCount == 0)
        #expect(loop.sharedDrops[.tooManyPaths] == 0)
        loop.stop()
        clients.stop()
        relay.stop()
    }

    @Test func `concealed addresses are found by multicast DNS, and none of them is signalled`() async throws {
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        let loop = try ICELoop(options)
        let (first, _) = try await Self.run(loop) {
            guard case .name(let name) = $0.address, name.hasSuffix(".local") else { return nil }
            return $0
        } change: {
            $0.hostAddresses = .concealed
        }
        #expect(first.verdict.outcome == .direct)
        loop.stop()
    }

    @Test func `two hundred connections share a loop, and nothing is left of them`() async {
        // In a process of its own, where nobody else opens sockets.
        await #expect(processExitsWith: .success) {
            let before = ConnectionTests.socketCount()
            do {
                let loop = try ICELoop()
                await withTaskGroup(of: Bool.self) { group in
                    for _ in 0..<100 { group.addTask { await ConnectionTests.talks(loop) } }
                    var count = 0
                    for await isGood in group where isGood { count += 1 }
                    #expect(count == 100)
                }
                #expect(ConnectionTests.socketCount() > before)
                #expect(loop.connectionCount == 0)
                loop.stop()
            }
            #expect(eventually { ConnectionTests.socketCount() <= before })
        }
    }

    /// Whether two connections of a loop find each other, talk and end.
    private static func talks(_ loop: ICELoop) async -> Bool {
        guard let pair = try? Pair(loop) else { return false }
        return await withTaskGroup(of: Void.self) { signaling in
            signaling.addTask { await pair.signal() }
            let isConnected = await pair.connect()
            let (one, other) = await pair.exchange()
            await pair.close()
            return isConnected && one != nil && other != nil
        }
    }

    @Test func `a connection that nobody holds is closed`() throws {
        let loop = try ICELoop()
        do {
            var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
            configuration.usesLoopback = true
            configuration.usesPortMapping = false
            let connection = try loop.connection(configuration)
            connection.gather()
            #expect(loop.connectionCount == 1)
        }
        #expect(eventually { loop.connectionCount == 0 })
        loop.stop()
    }

    @Test func `a cancelled reader ends, and the connection goes on`() async throws {
        let loop = try ICELoop()
        let pair = try Pair(loop)
        let reader = Task { await pair.first.received.nextBatch() }
        reader.cancel()
        #expect(await reader.value.isEmpty)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await pair.signal() }
            #expect(await pair.connect())
            let (one, _) = await pair.exchange()
            #expect(one != nil)
            await pair.close()
        }
        loop.stop()
    }

    @Test func `a restart gives other credentials and keeps the path`() async throws {
        let loop = try ICELoop()
        let pair = try Pair(loop)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await pair.signal() }
            #expect(await pair.connect())
            let description = await pair.first.restart()
            #expect(description != nil)
            #expect(description?.credentials != pair.first.localDescription.credentials)
            let (one, other) = await pair.exchange()
            #expect(one != nil && other != nil)
            await pair.close()
            #expect(await pair.first.restart() == nil)
            #expect(await pair.first.report()?.state == .closed)
        }
        loop.stop()
    }

    @Test func `what nobody reads is bounded and counted`() async throws {
        let loop = try ICELoop()
        var limits = ICEConnectionLimits()
        limits.waitingBytes = 1000
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesLoopback = true
        configuration.usesPortMapping = false
        let connection = try loop.connection(configuration, limits: limits)
        #expect(connection.send([[UInt8](repeating: 0, count: 1001)]) == 0)
        #expect(connection.refusedCount == 1)
        await connection.close()
        loop.stop()
    }

    @Test func `a stopped loop ends all sequences and takes no more connections`() async throws {
        let loop = try ICELoop()
        let pair = try Pair(loop)
        loop.stop()
        #expect(await pair.first.received.nextBatch().isEmpty)
        await pair.second.close()
        #expect(loop.connectionCount == 0)
    }

    @Test func `a loop that was stopped makes no connection and says why`() throws {
        let loop = try ICELoop()
        loop.stop()
        #expect(throws: ICELoopStopped.self) {
            _ = try loop.connection(ICESessionConfiguration(ICEConfiguration(role: .controlling)))
        }
        #expect(loop.connectionCount == 0)
    }

    @Test(.timeLimit(.minutes(5))) func `whoever makes connections while the loop ends is not left waiting`()
        async throws
    {
        for _ in 0..<8 {
            let loop = try ICELoop()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        while let made = try? loop.connection(
                            ICESessionConfiguration(ICEConfiguration(role: .controlling))
                        ) {
                            _ = await made.report()
                            await made.close()
                        }
                    }
                }
                loop.stop()
            }
            #expect(loop.connectionCount == 0)
        }
    }

    @Test func `a path over the peer's relay is a relayed one`() async throws {
        let relay = try TestTURN()
        let loop = try ICELoop()
        let (first, second) = try await Self.run(loop) {
            $0
        } change: { configuration in
            guard configuration.ice.role == .controlling else { return }
            configuration.policy = .relay
            configuration.turnServers = [relay.server]
        }
        #expect(first.isRelayed == true && first.selected?.localType == .relayed)
        #expect(second.isRelayed == true && second.selected?.localType != .relayed)
        loop.stop()
        relay.stop()
    }

    @Test func `what is sent before the end goes out before it`() async throws {
        let loop = try ICELoop()
        let pair = try Pair(loop)
        async let signaling: Void = pair.signal()
        let isConnected = await pair.connect()
        #expect(isConnected)
        pair.first.send([Array("the last word".utf8)])
        await pair.first.close()
        var words = pair.second.received.makeAsyncIterator()
        let word = await words.next()
        #expect(word == Array("the last word".utf8))
        await pair.second.close()
        await signaling
        loop.stop()
    }
}
