import Bytes
import Crypto
import EventLoop
import NetTypes
import Testing

@testable import Transport

@Suite struct StreamTests {
    /// Echoes `total` bytes with back-pressure: the echoing end reads only what it can write.
    private func echo(_ security: StreamPair.Security, total: Int, piece: Int) throws {
        var pair = try StreamPair.connect(security, outputLimit: 4096)
        let sent = pattern(1, count: total)
        var offset = 0
        var waiting: [UInt8] = []
        var returned: [UInt8] = []
        var hadToWait = false
        while returned.count < total {
            while offset < total {
                let next = Array(sent[offset..<min(offset + piece, total)])
                let result = pair.client.write(next)
                guard result == .sent || result == .queued else {
                    #expect(result == .full)
                    hadToWait = true
                    break
                }
                offset += next.count
            }
            repeat {
                if !waiting.isEmpty {
                    guard [.sent, .queued].contains(pair.server.write(waiting)) else { break }
                    waiting = []
                }
                let result = pair.server.readSome(into: &waiting, capacity: 7)
                #expect(result == .bytes(waiting.count) || result == .wouldBlock && waiting.isEmpty)
            } while !waiting.isEmpty
            // The reader is slower than the writer.
            for _ in 0..<500 { _ = pair.client.readSome(into: &returned, capacity: 13) }
            pair.client.flush()
            pair.server.flush()
            let (queued, echoQueued) = (pair.client.queuedBytes, pair.server.queuedBytes)
            #expect(queued <= 4096 && echoQueued <= 4096)
            if returned.count < total, !pair.client.hasUnreadBytes, !pair.server.hasUnreadBytes { try pair.wait() }
        }
        #expect(returned == sent)
        #expect(total < 1_000_000 || hadToWait)
    }

    @Test func `plain TCP echoes with tiny buffers and back-pressure`() throws {
        try echo(.plain, total: 200_000, piece: 1000)
    }

    @Test func `TLS echoes with tiny buffers and back-pressure`() throws {
        try echo(.tls, total: 60_000, piece: 3000)
    }

    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `turn 17: a connection that is reset ends with RST, not with the end of a stream`(
        address: SocketAddress
    ) throws {
        var pair = try StreamPair.connect(.plain, at: address)
        pair.client.reset()
        try Loopback.wait(pair.server.descriptor)
        var nothing: [UInt8] = []
        let result = pair.server.readSome(into: &nothing, capacity: 1)
        guard case .failed = result else {
            Issue.record("\(result)")
            return
        }
    }

    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `both ends know their addresses`(address: SocketAddress) throws {
        let pair = try StreamPair.connect(.plain, at: address)
        let client = (pair.client.localAddress, pair.client.remoteAddress)
        let server = (pair.server.localAddress, pair.server.remoteAddress)
        #expect(client.0 == server.1 && client.1 == server.0)
        let isSecure = pair.client.isSecure
        #expect(!isSecure)
    }

    @Test func `a listener on the wildcard knows which address a client chose`() throws {
        var options = TCPListener.Options()
        options.isIPv6Only = false
        var listener = try TCPListener(boundTo: Loopback.address("::"), options: options)
        let asked = Loopback.address("127.0.0.2", port: listener.localAddress.port)
        let client = try TCPSocket(connectingTo: asked, from: Loopback.address("127.0.0.3"))
        try Loopback.wait(listener.descriptor)
        let accepted = try listener.acceptOne()
        let (local, remote, source) = (accepted.localAddress, accepted.remoteAddress, client.localAddress)
        #expect(local == asked)
        #expect(remote == source)
        #expect(remote.ip == IPAddress("127.0.0.3"))
    }

    @Test(arguments: [StreamPair.Security.plain, .tls])
    func `a write is taken whole or not at all, and the queue has a limit`(security: StreamPair.Security) throws {
        var pair = try StreamPair.connect(security, outputLimit: 100_000)
        let piece = pattern(2, count: 30_000)
        let tooLong = pair.client.write([UInt8](repeating: 0, count: 100_001))
        #expect(tooLong == .full)
        var accepted = 0
        var results: Set<String> = []
        // The peer reads nothing: the kernel's buffers fill, then the queue.
        for _ in 0..<1000 {
            let result = pair.client.write(piece)
            results.insert("\(result)")
            if result == .full { break }
            accepted += piece.count
        }
        #expect(results == ["sent", "queued", "full"])
        let (queued, wantsWrite) = (pair.client.queuedBytes, pair.client.wantsWrite)
        #expect(queued > 0 && queued <= 100_000)
        #expect(wantsWrite)
        var received: [UInt8] = []
        while received.count < accepted {
            try pair.wait()
            #expect(pair.server.readAll(into: &received) == .wouldBlock)
            pair.client.flush()
        }
        #expect(received.count == accepted)
        #expect(received == Array(repeatElement(piece, count: accepted / piece.count).joined()))
        let isIdle = !pair.client.wantsWrite
        #expect(isIdle)
    }

    @Test(arguments: [StreamPair.Security.plain, .tls])
    func `finishing sends what waits and then the end`(security: StreamPair.Security) throws {
        var pair = try StreamPair.connect(security)
        var bytes: [UInt8] = []
        var result = StreamWriteResult.sent
        while result == .sent {
            let piece = pattern(bytes.count, count: 100_000)
            result = pair.client.write(piece)
            bytes += piece
        }
        try #require(result == .queued)
        pair.client.finish()
        let wasFinished = pair.client.hasFinished
        #expect(!wasFinished)
        let late = pair.client.write([1])
        #expect(late == .full)
        var received: [UInt8] = []
        while pair.server.readAll(into: &received) == .wouldBlock {
            try pair.wait()
            pair.client.flush()
        }
        #expect(received == bytes)
        let isFinished = pair.client.hasFinished
        #expect(isFinished)
        // The other direction is still open.
        #expect([.sent, .queued].contains(pair.server.write([1, 2, 3])))
        pair.server.finish()
        var answer: [UInt8] = []
        while pair.client.readAll(into: &answer) == .wouldBlock { try pair.wait() }
        #expect(answer == [1, 2, 3])
        let last = pair.client.readSome(into: &answer, capacity: 1)
        #expect(last == .closed)
    }

    @Test func `several pieces wait for one flush`() throws {
        var pair = try StreamPair.connect(.tls)
        for number in 0..<10 {
            let result = pair.client.enqueue([UInt8(number)].span)
            #expect(result == .queued)
        }
        var received: [UInt8] = []
        #expect(pair.server.readAll(into: &received) == .wouldBlock)
        #expect(received.isEmpty)
        #expect(pair.client.flush() == .sent)
        while received.count < 10 {
            try pair.wait()
            #expect(pair.server.readAll(into: &received, capacity: 1) == .wouldBlock)
        }
        #expect(received == (0..<10).map { UInt8($0) })
    }

    @Test func `TLS agrees on an application protocol`() throws {
        let pair = try StreamPair.connect(.tls)
        let agreed = (pair.client.applicationProtocol, pair.server.applicationProtocol, pair.server.isSecure)
        #expect(agreed == ("stun.turn", "stun.turn", true))
    }

    @Test func `a TLS stream that is cut off is not taken for complete`() throws {
        var pair = try StreamPair.connect(.tls)
        #expect(pair.client.write([1, 2, 3]) == .sent)
        // The server's session tickets stand before this; closing with unread bytes would be a reset.
        #expect(pair.server.write([9]) == .sent)
        var sent: [UInt8] = []
        while sent.isEmpty {
            try Loopback.wait(pair.client.descriptor)
            _ = pair.client.readAll(into: &sent)
        }
        pair.client = try StreamPair.connect(.plain).takeClient()
        var received: [UInt8] = []
        while pair.server.readAll(into: &received) == .wouldBlock { try Loopback.wait(pair.server.descriptor) }
        #expect(received == [1, 2, 3])
        let failure = pair.server.failure
        #expect(failure == .truncated)
        #expect(pair.server.write([1]) == .failed(.truncated))
    }

    @Test func `another protocol instead of TLS fails with a reason`() throws {
        var listener = try TCPListener(boundTo: Loopback.v4)
        var client = StreamConnection(try TCPSocket(connectingTo: listener.localAddress))
        try Loopback.wait(client.descriptor, for: .write)
        #expect(client.write(Array("GET / HTTP/1.1\r\n\r\n".utf8)) == .sent)
        try Loopback.wait(listener.descriptor)
        var server = StreamConnection(try listener.acceptOne(), tls: TLSSession(server: try StreamPair.serverContext()))
        var nothing: [UInt8] = []
        while server.readSome(into: &nothing, capacity: 100) == .wouldBlock { try Loopback.wait(server.descriptor) }
        let failure = server.failure
        #expect(failure == .tls(.notTLS))
        #expect(client.write([1]) == .sent)
    }

    @Test func `a TLS handshake that fails sends its alert`() throws {
        var listener = try TCPListener(boundTo: Loopback.v4)
        let session = TLSSession(client: try StreamPair.clientContext(["other"]), serverName: "localhost")
        var client = StreamConnection(try TCPSocket(connectingTo: listener.localAddress), tls: session)
        try Loopback.wait(listener.descriptor)
        var server = StreamConnection(try listener.acceptOne(), tls: TLSSession(server: try StreamPair.serverContext()))
        try Loopback.wait(client.descriptor, for: .write)
        #expect(client.flush() == .sent)
        var nothing: [UInt8] = []
        while server.readSome(into: &nothing, capacity: 100) == .wouldBlock { try Loopback.wait(server.descriptor) }
        while client.readSome(into: &nothing, capacity: 100) == .wouldBlock { try Loopback.wait(client.descriptor) }
        let failures = (server.failure, client.failure)
        #expect(failures == (.tls(.noApplicationProtocol), .tls(.alertReceived(.noApplicationProtocol))))
    }

    @Test func `a refused connection tells why`() throws {
        let address = try TCPListener(boundTo: Loopback.v4).localAddress
        var client = StreamConnection(try TCPSocket(connectingTo: address))
        while client.flush() == .queued { try Loopback.wait(client.descriptor, for: .write) }
        let found = client.failure
        let failure = try #require(found)
        #expect(failure == .system(number: 111))
        #expect("\(failure)" == "connection refused")
    }

    @Test func `writing to a connection that the peer has reset fails without a signal`() throws {
        var pair = try StreamPair.connect(.plain)
        #expect(pair.server.write([1, 2, 3]) == .sent)
        try Loopback.wait(pair.client.descriptor)
        // Closing with unread bytes resets the connection.
        pair.client = try StreamPair.connect(.plain).takeClient()
        try Loopback.wait(pair.server.descriptor)
        var bytes: [UInt8] = []
        #expect(pair.server.readSome(into: &bytes, capacity: 10) == .failed(.system(number: 104)))
        #expect(pair.server.write([1]) == .failed(.system(number: 104)))
    }
}

extension StreamPair {
    consuming func takeClient() -> StreamConnection { client }
}
