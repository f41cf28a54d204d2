import Bytes
import Diagnostics
import EventLoop
import NetTypes
import ServiceTestSupport
import Signaling
import Store
import Testing
import Transport

@testable import WebService

/// The server's loop taken step by step on the test's own thread, under a clock of the test.
private final class ManualServer {
    var server: WebServer
    var now = MonotonicClock.now()
    private let folder: TemporaryFolder
    let address: SocketAddress

    init(port: UInt16) throws {
        let folder = try TemporaryFolder()
        self.folder = folder
        address = SocketAddress(.loopback(.ipv4), port: port)
        let policy = WebPolicy(minter: ICEServersMinter(secret: nil))
        server = WebServer(
            WebConfiguration(listeners: [.init(address, isTLS: false)], policy: policy),
            store: try Database(path: folder.path + "/store.sqlite"),
            mailbox: try Mailbox(limit: 4),
            poller: try Poller(),
            logger: .silent,
            metrics: { _ in }
        )
        try server.open()
    }

    /// Takes a client that has said something.
    func accept() throws -> SlotHandle {
        for listener in server.listeners.handles { server.accept(listener, at: now) }
        let first = SlotHandle(index: 0, generation: 1)
        #expect(
            eventually {
                server.serveLobby(first, at: now)
                return server.connections.count > 0
            }
        )
        return try #require(server.connections.handles.first)
    }

    /// Reads what has come; whether a request has begun, which has to end within ten seconds.
    func beginsRequest(_ handle: SlotHandle) -> Bool {
        server.serve(handle, at: now)
        let due = server.connections.read(handle) { $0.nextTimeout ?? .distantFuture }
        return due.map { $0 <= now + .seconds(10) } ?? false
    }

    /// Reads what has come; how many requests were answered.
    func answered(_ handle: SlotHandle) -> UInt64 {
        server.serve(handle, at: now)
        return server.statistics.responses[2] ?? 0
    }

    func pass(_ span: TimeSpan) {
        now = now + span
        server.handleTimeouts(at: now)
    }
}

@Suite struct WebServerTests {
    @Test func `a connection has few deadlines however many requests it makes`() throws {
        let manual = try withFreePorts(1) { try ManualServer(port: $0[0]) }
        let stream = try StreamClient(to: manual.address)
        let client = WebClient(stream, authority: "localhost")
        try stream.send(Array("GET ".utf8))
        let handle = try manual.accept()
        // Each request begins with a pause, so that its deadline is earlier than that of the idle connection.
        for round in 1...60 as ClosedRange<UInt64> {
            try stream.send(Array((round == 1 ? "/healthz" : "GET /healthz").utf8))
            #expect(eventually { manual.beginsRequest(handle) })
            try client.send(" HTTP/1.1")
            #expect(eventually { manual.answered(handle) == round })
            #expect(try client.receive().text == "ok\n")
            manual.pass(.seconds(11))
        }
        #expect(manual.server.deadlines.count <= 10)
        let isOpen = manual.server.connections.contains(handle)
        #expect(isOpen)
    }
}
