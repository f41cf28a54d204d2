import Bytes
import Connectivity
import Diagnostics
import ICE
import ICETransport
import NetTypes
import STUN
import ServiceTestSupport
import Testing
import Transport

/// One TCP port for the passive candidates of all agents (RFC 6544 §4.1, §7.2; ice 118, 124, 125).
@Suite(.serialized) struct SharedStreamTests {
    private static func options(_ change: (inout ICELoopOptions) -> Void = { _ in }) -> ICELoopOptions {
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        options.sharedPort = 0
        change(&options)
        return options
    }

    private static func isPassive(_ candidate: Candidate) -> Bool {
        candidate.tcpType == .passive && candidate.address == .ip(.loopback(.ipv4))
    }

    /// A connection that gathers, and where strangers may connect to it.
    private static func listening(
        _ loop: ICELoop,
        usesTCP: Bool = true
    ) async throws -> (connection: ICEConnection, address: SocketAddress?) {
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlled))
        configuration.usesLoopback = true
        configuration.usesPortMapping = false
        configuration.usesTCP = usesTCP
        configuration.limits.unprovenStreamTime = .seconds(3600)
        let connection = try loop.connection(configuration)
        connection.gather()
        var address: SocketAddress?
        for await update in connection.candidates {
            if case .found(let candidate) = update, isPassive(candidate) { address = candidate.socketAddress }
            if case .done = update { break }
        }
        return (connection, address)
    }

    /// A Binding request in a frame, without integrity: whoever gets it answers that it is a bad one.
    private static func request(to fragment: String?) -> [UInt8] {
        let message = buildBytes(capacity: 200) { output in
            var builder = STUNMessageBuilder(.binding, .request, TransactionID(high: 1, low: 2), into: &output)
            if let fragment { builder.append(.username, "\(fragment):stranger", into: &output) }
            _ = try? builder.finish(fingerprint: true, into: &output)
        }
        return framed(message)
    }

    private static func framed(_ message: [UInt8]) -> [UInt8] {
        [UInt8(message.count >> 8), UInt8(message.count & 0xFF)] + message
    }

    /// Whether the other end has closed the connection, without a word.
    private static func isClosed(_ client: StreamClient) -> Bool {
        do {
            return try client.receive() == nil
        } catch {
            // What was sent and not read makes the end of it a reset.
            if case .failed? = error as? ClientError { return true }
            return false
        }
    }

    private static func isAnswered(_ client: StreamClient) throws -> Bool {
        let answer = try #require(try client.receive())
        // Two answers may have come as one piece.
        let end = answer.count < 22 ? 0 : 2 + Int(answer[0]) &<< 8 + Int(answer[1])
        guard end > 22, answer.count >= end, let view = try? STUNMessageView(answer.span.extracting(2..<end)) else {
            return false
        }
        return view.messageClass == .error && view.transactionID == TransactionID(high: 1, low: 2)
    }

    @Test func `many agents take connections at one port, and each gets its own`() async throws {
        let loop = try ICELoop(Self.options())
        let clients = try ICELoop(Self.options { $0.sharedPort = nil })
        let pairs = try (0..<8).map { _ in try Pair(loop, clients) { $0.usesTCP = true } }
        await withTaskGroup(of: Void.self) { group in
            for pair in pairs {
                // Only the second knows where to connect to.
                group.addTask { await pair.signal({ Self.isPassive($0) ? $0 : nil }, back: { _ in nil }) }
            }
            var ports: Set<UInt16> = []
            for (number, pair) in pairs.enumerated() {
                #expect(await pair.connect())
                pair.first.send([[200, UInt8(number)]])
                var received = pair.second.received.makeAsyncIterator()
                #expect(await received.next() == [200, UInt8(number)])
                if number == 0 { #expect(await pair.first.restart() != nil) }
                for candidate in await pair.first.report()?.candidates ?? [] where Self.isPassive(candidate) {
                    ports.insert(candidate.port)
                }
            }
            #expect(ports.count == 1)
            for pair in pairs { await pair.close() }
        }
        #expect(loop.connectionCount == 0)
        #expect(loop.sharedDrops[.unknownUsernameFragment] == 0)
        loop.stop()
        clients.stop()
    }

    @Test func `two connections of one loop reach each other by TCP, though they share a port`() async throws {
        let loop = try ICELoop(Self.options())
        let pair = try Pair(loop) { $0.usesTCP = true }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await pair.signal { $0.transport == .tcp ? $0 : nil } }
            #expect(await pair.connect())
            let (one, other) = await pair.exchange()
            #expect(one == Array("from the second".utf8) && other == Array("from the first".utf8))
            await pair.close()
        }
        loop.stop()
    }

    @Test func `first bytes that are no framed Binding request end a connection at once`() async throws {
        let loop = try ICELoop(Self.options { $0.undecidedPatience = .seconds(3600) })
        let (connection, address) = try await Self.listening(loop)
        let target = try #require(address)
        let good = Self.request(to: connection.localDescription.credentials.usernameFragment)
        func changed(_ place: Int, _ value: UInt8) -> [UInt8] {
            var bytes = good
            bytes[place] = value
            return bytes
        }
        let hostile: [[UInt8]] = [
            Array("GET / HTTP/1.1\r\n\r\n".utf8), [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], [0, 0], [0, 19], [255, 255],
            // A response, an indication, another method, another cookie, another length, an attribute that is too long.
            changed(2, 1), changed(3, 0x11), changed(3, 3), changed(6, 0x22), changed(5, 0), changed(24, 200),
        ]
        for (number, bytes) in hostile.enumerated() {
            let client = try StreamClient(to: target)
            try client.send(bytes)
            #expect(Self.isClosed(client), "number \(number)")
            #expect(loop.sharedDrops[.noCheckFirst] == UInt64(number + 1))
        }
        let statistics = await connection.report()?.statistics
        #expect(statistics?.requestsReceived == 0)
        await connection.close()
        loop.stop()
    }

    @Test func `a check for nobody, for no name or for an agent without TCP ends a connection`() async throws {
        let loop = try ICELoop(Self.options())
        let (connection, address) = try await Self.listening(loop)
        let (other, none) = try await Self.listening(loop, usesTCP: false)
        #expect(none == nil)
        let target = try #require(address)
        let fragments: [String?] = ["nobody", nil, other.localDescription.credentials.usernameFragment]
        let reasons: [SharedDrop] = [.unknownUsernameFragment, .nobody, .noStreamCandidate]
        for (fragment, reason) in zip(fragments, reasons) {
            let client = try StreamClient(to: target)
            try client.send(Self.request(to: fragment))
            #expect(Self.isClosed(client))
            #expect(loop.sharedDrops[reason] == 1)
        }
        let gone = connection.localDescription.credentials.usernameFragment
        await connection.close()
        let client = try StreamClient(to: target)
        try client.send(Self.request(to: gone))
        #expect(Self.isClosed(client))
        #expect(loop.sharedDrops[.unknownUsernameFragment] == 2)
        await other.close()
        loop.stop()
    }

    @Test func `a connection that says nothing, or not all of it, is closed in time`() async throws {
        let loop = try ICELoop(Self.options { $0.undecidedPatience = .milliseconds(500) })
        let (connection, address) = try await Self.listening(loop)
        let target = try #require(address)
        let request = Self.request(to: connection.localDescription.credentials.usernameFragment)
        let clients = try [0, 1, 2, 21, request.count - 1].map { count in
            let client = try StreamClient(to: target)
            // On a busy machine its time may be over before it has said so much: it is closed all the same.
            try? client.send(Array(request[..<count]))
            return client
        }
        for client in clients { #expect(Self.isClosed(client)) }
        #expect(loop.sharedDrops[.silentStream] == 5)
        await connection.close()
        loop.stop()
    }

    @Test func `a connection whose peer goes without a word is closed`() async throws {
        let loop = try ICELoop(Self.options { $0.undecidedPatience = .seconds(3600) })
        let (connection, address) = try await Self.listening(loop)
        let client = try StreamClient(to: #require(address))
        client.finish()
        #expect(Self.isClosed(client))
        #expect(loop.sharedDrops[.goneStream] == 1)
        await connection.close()
        loop.stop()
    }

    @Test func `the silent ones make room for newer ones, and a check may come byte by byte`() async throws {
        let loop = try ICELoop(
            Self.options {
                $0.undecidedPatience = .seconds(3600)
                $0.undecidedStreams = 2
            }
        )
        let (connection, address) = try await Self.listening(loop)
        let target = try #require(address)
        let clients = try (0..<3).map { _ in try StreamClient(to: target) }
        #expect(Self.isClosed(clients[0]))
        #expect(loop.sharedDrops[.displacedStream] == 1)
        let request = Self.request(to: connection.localDescription.credentials.usernameFragment)
        for byte in request { try clients[1].send([byte]) }
        #expect(try Self.isAnswered(clients[1]))
        // What follows the first check is the agent's too, though both came at once.
        try clients[2].send(request + request)
        #expect(try Self.isAnswered(clients[2]))
        #expect(loop.sharedDrops[.displacedStream] == 1)
        await connection.close()
        #expect(Self.isClosed(clients[1]))
        loop.stop()
    }

    @Test func `Of those that say nothing, the network that has most makes room, not the one that came first`()
        async throws
    {
        let loop = try ICELoop(
            Self.options {
                $0.undecidedPatience = .seconds(3600)
                $0.undecidedStreams = 4
            }
        )
        let (connection, address) = try await Self.listening(loop)
        let target = try #require(address)
        func client(_ source: String) throws -> StreamClient {
            try StreamClient(to: target, from: SocketAddress(#require(IPAddress(source)), port: 0))
        }
        let first = try client("127.0.2.1")
        let crowd = try (1...4).map { try client("127.0.1.\($0)") }
        #expect(Self.isClosed(crowd[0]))
        let last = try client("127.0.3.1")
        #expect(Self.isClosed(crowd[1]))
        let request = Self.request(to: connection.localDescription.credentials.usernameFragment)
        for client in [first, crowd[2], crowd[3], last] {
            try client.send(request)
            #expect(try Self.isAnswered(client))
        }
        #expect(loop.sharedDrops[.displacedStream] == 2)
        await connection.close()
        loop.stop()
    }
}
