import Bytes
import Crypto
import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Testing

@testable import Transport

/// A lobby behind a listener; time is what the test says it is.
private struct Door: ~Copyable {
    var lobby: StreamLobby
    var listener: TCPListener
    let poller: Poller
    let tls: TLSContext?
    var now = Instant(nanoseconds: 1 << 40)
    private var events = PollEvents(capacity: 64)

    init(tls: TLSContext? = nil, _ change: (inout StreamLobbyLimits) -> Void = { _ in }) throws {
        var limits = StreamLobbyLimits()
        change(&limits)
        let poller = try Poller()
        listener = try TCPListener(boundTo: Loopback.v4)
        lobby = StreamLobby(limits, kind: 7, outputLimit: 65536, at: now)
        self.poller = poller
        self.tls = tls
    }

    /// Lets a client in.
    mutating func enter() throws -> StreamConnection {
        let socket = try TCPSocket(connectingTo: listener.localAddress)
        try Loopback.wait(listener.descriptor)
        lobby.admit(try listener.acceptOne(), tls: tls, at: now, poller)
        return StreamConnection(socket)
    }

    /// Lets a client in that begins a handshake.
    mutating func enterSecurely(_ protocols: [String] = ["stun.turn"]) throws -> StreamConnection {
        let socket = try TCPSocket(connectingTo: listener.localAddress)
        try Loopback.wait(listener.descriptor)
        lobby.admit(try listener.acceptOne(), tls: tls, at: now, poller)
        let context = try StreamPair.clientContext(protocols)
        var client = StreamConnection(socket, tls: TLSSession(client: context, serverName: "localhost"))
        client.flush()
        return client
    }

    /// Serves what is ready, once; the stream that has something to say, if one has.
    mutating func turn(milliseconds: UInt64 = 20) throws -> StreamConnection? {
        try poller.wait(until: MonotonicClock.now() + .milliseconds(milliseconds), into: &events)
        for index in events.indices {
            let token = PollToken(bits: events[index].token)
            #expect(token.kind == 7)
            if let connection = lobby.serve(token.handle, at: now, poller) { return connection }
        }
        return nil
    }

    /// Serves once; whether nobody had anything to say.
    mutating func isQuiet(milliseconds: UInt64 = 20) throws -> Bool {
        switch try turn(milliseconds: milliseconds) {
        case .some: false
        case .none: true
        }
    }

    /// The stream that has something to say.
    mutating func speaker() throws -> StreamConnection {
        for _ in 0..<100 {
            if let connection = try turn() { return connection }
        }
        throw SocketError(.listen(.tcp), at: nil, number: 0)
    }

    /// Lets a client and the lobby go on until a stream has something to say.
    mutating func next(_ client: inout StreamConnection, saying text: String) throws -> StreamConnection {
        var hasSpoken = false
        for _ in 0..<200 {
            var nothing: [UInt8] = []
            _ = client.readSome(into: &nothing, capacity: 1)
            client.flush()
            if client.isEstablished, !hasSpoken { hasSpoken = client.write(Array(text.utf8)) == .sent }
            if let connection = try turn() { return connection }
        }
        throw SocketError(.listen(.tcp), at: nil, number: 0)
    }

    func drops(_ reason: StreamLobbyDrop) -> UInt64 { lobby.drops[reason] }
}

@Suite struct StreamLobbyTests {
    @Test func `a stream leaves with its first byte, which stays to be read`() throws {
        var door = try Door()
        var client = try door.enter()
        #expect(try door.isQuiet())
        #expect(client.write(Array("GET".utf8)) == .sent)
        var server = try door.speaker()
        let (first, carried, left) = (server.firstByte, server.carriedProtocol, door.lobby.count)
        #expect(first == 0x47 && carried == .http && left == 0)
        var bytes: [UInt8] = []
        _ = server.readAll(into: &bytes)
        #expect(bytes == Array("GET".utf8))
    }

    @Test(arguments: [(["stun.turn"], StreamProtocol.turn), (["http/1.1"], .http), ([], .http)])
    func `turn 199: with TLS it leaves with the first byte inside, told apart by ALPN or by that byte`(
        protocols: [String],
        expected: StreamProtocol
    ) throws {
        var door = try Door(tls: try Self.context(["http/1.1", "stun.turn"]))
        var client = try door.enterSecurely(protocols)
        var server = try door.next(&client, saying: "G and more")
        let (isSecure, carried) = (server.isSecure, server.carriedProtocol)
        #expect(isSecure && carried == expected)
        var bytes: [UInt8] = []
        _ = server.readAll(into: &bytes, capacity: 3)
        #expect(bytes == Array("G and more".utf8))
    }

    @Test func `every first byte is of one protocol`() {
        for byte in UInt8.min...UInt8.max {
            let expected: StreamProtocol = byte <= 3 ? .turn : .http
            #expect(StreamProtocol(applicationProtocol: nil, firstByte: byte) == expected)
            #expect(StreamProtocol(applicationProtocol: "stun.nat-discovery", firstByte: byte) == .turn)
            #expect(StreamProtocol(applicationProtocol: "http/1.1", firstByte: byte) == .http)
        }
    }

    @Test func `turn 211: what stays silent, or stops in the middle, is closed in time and named`() throws {
        var door = try Door(tls: try StreamPair.serverContext()) { $0.proxies = [] }
        let silent = try door.enter()
        var halting = try door.enter()
        #expect(halting.write([0x16, 3, 1, 1, 0, 1]) == .sent)
        #expect(try door.isQuiet())
        #expect(door.lobby.nextTimeout == door.now + .seconds(10))
        door.now = door.now + .seconds(9)
        door.lobby.handleTimeout(at: door.now)
        #expect(door.lobby.count == 2)
        door.now = door.now + .seconds(1)
        door.lobby.handleTimeout(at: door.now)
        let (count, unheard, late) = (door.lobby.count, door.drops(.silentStream), door.drops(.handshakeTimeout))
        #expect(count == 0 && unheard == 1 && late == 1)
        #expect(door.lobby.nextTimeout == nil)
        try Loopback.wait(silent.descriptor)
    }

    @Test func `plain text where TLS is spoken, and a client that goes, are counted`() throws {
        var door = try Door(tls: try StreamPair.serverContext())
        var client = try door.enter()
        #expect(client.write(Array("GET / HTTP/1.1\r\n\r\n".utf8)) == .sent)
        #expect(try door.isQuiet())
        do { _ = try door.enter() }
        #expect(try door.isQuiet())
        let (failed, gone) = (door.drops(.tlsFailure), door.drops(.goneHalfOpen))
        #expect(failed == 1 && gone == 1 && door.lobby.count == 0)
    }

    @Test func `the one that has waited longest makes room`() throws {
        var door = try Door { $0.streams = 3 }
        var first = try door.enter()
        for _ in 0..<10 { _ = try door.enter() }
        let displaced = door.drops(.displacedHalfOpen)
        #expect(displaced == 8 && door.lobby.count == 3)
        var bytes: [UInt8] = []
        try Loopback.wait(first.descriptor)
        #expect(first.readSome(into: &bytes, capacity: 1) == .closed)
    }

    @Test func `a prefix has only so many half-open streams and handshakes, which come back`() throws {
        var door = try Door(tls: try StreamPair.serverContext()) {
            $0.exemptsLoopback = false
            $0.streamsPerPrefix = 2
            $0.handshakesPerSecond = 1
            $0.handshakeBurst = 2
        }
        let first = try door.enter()
        let second = try door.enter()
        let third = try door.enter()
        let tooMany = door.drops(.tooManyHalfOpenOfPrefix)
        #expect(tooMany == 1 && door.lobby.count == 2)
        try Loopback.wait(third.descriptor)
        door.lobby.removeAll()
        _ = (first.descriptor, second.descriptor)
        for expected in [0, 0, 1] as [UInt64] {
            var client = try door.enterSecurely()
            for _ in 0..<10 where !client.isEstablished {
                _ = try door.turn(milliseconds: 5)
                var nothing: [UInt8] = []
                _ = client.readSome(into: &nothing, capacity: 1)
            }
            let refused = door.drops(.tooManyHandshakesOfPrefix)
            #expect(refused == expected)
            door.lobby.removeAll()
        }
        door.now = door.now + .seconds(1)
        var client = try door.enterSecurely()
        _ = try door.next(&client, saying: "x")
        let refused = door.drops(.tooManyHandshakesOfPrefix)
        #expect(refused == 1)
    }

    @Test func `one that stays silent does not keep the places of those that come and go`() throws {
        var door = try Door()
        let silent = try door.enter()
        for _ in 0..<300 {
            var client = try door.enter()
            #expect(client.write([1]) == .sent)
            #expect(try !door.isQuiet())
        }
        let noted = door.lobby.notedStreams
        #expect(noted < 100 && door.lobby.count == 1)
        let failure = silent.failure
        #expect(failure == nil)
    }

    static func context(_ protocols: [String]) throws -> TLSContext {
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        return try TLSContext(serverIdentities: [identity], applicationProtocols: protocols)
    }
}

@Suite struct ProxiedStreamTests {
    private static let header = Array("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".utf8)

    private func door(tls: TLSContext? = nil, _ change: (inout StreamLobbyLimits) -> Void = { _ in }) throws -> Door {
        try Door(tls: tls) {
            $0.proxies = [IPPrefix("127.0.0.1/32")].compactMap { $0 }
            change(&$0)
        }
    }

    @Test func `a proxy's client has its own address, and the header is nobody's data`() throws {
        var door = try door()
        var client = try door.enter()
        for byte in Self.header {
            #expect(client.write([byte]) == .sent)
            #expect(try door.isQuiet(milliseconds: 1))
        }
        #expect(client.write([0, 1, 2]) == .sent)
        var server = try door.speaker()
        let remote = server.remoteAddress
        #expect(remote == SocketAddress("192.0.2.1:56324"))
        var bytes: [UInt8] = []
        _ = server.readAll(into: &bytes)
        #expect(bytes == [0, 1, 2])
    }

    @Test func `header and first bytes may come at once, also those of TLS`() throws {
        var door = try door(tls: try StreamPair.serverContext())
        let socket = try TCPSocket(connectingTo: door.listener.localAddress)
        try Loopback.wait(door.listener.descriptor)
        door.lobby.admit(try door.listener.acceptOne(), tls: door.tls, at: door.now, door.poller)
        #expect(socket.sendRaw(Self.header) == Self.header.count)
        let session = TLSSession(client: try StreamPair.clientContext(), serverName: "localhost")
        var client = StreamConnection(socket, tls: session)
        client.flush()
        let server = try door.next(&client, saying: "x")
        let (remote, isSecure) = (server.remoteAddress, server.isSecure)
        #expect(remote == SocketAddress("192.0.2.1:56324") && isSecure)
    }

    @Test func `a proxy that speaks for itself has its own address`() throws {
        var door = try door()
        var client = try door.enter()
        #expect(client.write(Array("PROXY UNKNOWN\r\nx".utf8)) == .sent)
        let server = try door.speaker()
        let (remote, own) = (server.remoteAddress, client.localAddress)
        #expect(remote.ip == own.ip)
    }

    @Test func `without a header, with a wrong one or with half of one a proxy's connection ends`() throws {
        var door = try door()
        for bytes in [Array("GET / HTTP/1.1\r\n\r\n".utf8), Array("PROXY TCP4 x y 1 2\r\n".utf8), [0x0D, 0x0A]] {
            var client = try door.enter()
            #expect(client.write(bytes) == .sent)
            #expect(try door.isQuiet())
        }
        door.now = door.now + .seconds(10)
        door.lobby.handleTimeout(at: door.now)
        let (absent, wrong) = (door.drops(.noProxyHeader), door.drops(.badProxyHeader))
        #expect(absent == 2 && wrong == 1 && door.lobby.count == 0)
    }

    @Test func `from elsewhere a header is data`() throws {
        var door = try Door { $0.proxies = [IPPrefix("192.0.2.0/24")].compactMap { $0 } }
        var client = try door.enter()
        #expect(client.write(Self.header) == .sent)
        let server = try door.speaker()
        let (first, remote, own) = (server.firstByte, server.remoteAddress, client.localAddress)
        #expect(first == 0x50 && remote.ip == own.ip)
    }

    @Test func `limits are those of the clients, not of the proxy`() throws {
        var door = try door {
            $0.exemptsLoopback = false
            $0.streamsPerPrefix = 1
        }
        var first = try door.enter()
        var second = try door.enter()
        var other = try door.enter()
        #expect(first.write(Array("PROXY TCP4 192.0.2.1 203.0.113.1 1 2\r\n".utf8)) == .sent)
        #expect(try door.isQuiet())
        #expect(second.write(Array("PROXY TCP4 192.0.2.77 203.0.113.1 1 2\r\n".utf8)) == .sent)
        #expect(try door.isQuiet())
        #expect(other.write(Array("PROXY TCP4 198.51.100.1 203.0.113.1 1 2\r\n".utf8)) == .sent)
        #expect(try door.isQuiet())
        let refused = door.drops(.tooManyHalfOpenOfPrefix)
        #expect(refused == 1 && door.lobby.count == 2)
        let failures = [first.failure, second.failure, other.failure]
        #expect(failures == [nil, nil, nil])
    }
}

extension TCPSocket {
    /// Sends bytes as they are, once it is connected.
    borrowing func sendRaw(_ bytes: [UInt8]) -> Int {
        try? Loopback.wait(descriptor, for: .write)
        // The kernel reads the bytes during the call only.
        return unsafe bytes.withUnsafeBytes { unsafe send(descriptor, $0.baseAddress, $0.count, 0) }
    }
}
