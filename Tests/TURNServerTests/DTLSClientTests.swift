import NetTypes
import STUN
import TURNServer
import Testing

/// What the server does otherwise for clients whose datagrams come by DTLS (RFC 7350).
@Suite struct DTLSClientTests {
    private let withoutCookie: [UInt8] = [0x00, 0x01, 0, 0] + (1...16)

    @Test func `a request without the magic cookie over DTLS gets 500, whatever its method (turn 86)`() throws {
        let server = try TestServer { $0.answersRFC3489 = true }
        let tuple = try TestClient(server, transport: .dtls).tuple
        for method: UInt8 in [1, 3, 9] {
            var request = withoutCookie
            request[1] = method
            #expect(server.receive(request, from: tuple) == .accepted)
            let last = server.responses.last
            let response = try #require(last).bytes
            server.responses = []
            #expect(Array(response[..<20]) == [0x01, 0x10 | method, 0, 20] + request[4...])
            #expect(Array(response[20...]) == [0, 9, 0, 16, 0, 0, 5, 0] + Array("Server Error".utf8))
        }
        #expect(server.engine.statistics.errors(500) == 3)
    }

    @Test func `an indication without the magic cookie over DTLS is ignored, and so is what is no message (turn 86)`()
        throws
    {
        let server = try TestServer()
        let tuple = try TestClient(server, transport: .dtls).tuple
        var indication = withoutCookie
        indication[1] = 0x11
        for bytes in [indication, Array(withoutCookie[..<19]), [0x01, 0x01] + withoutCookie[2...]] {
            #expect(server.receive(bytes, from: tuple) == .ignored(.malformedSTUN))
        }
        #expect(server.responses.isEmpty)
    }

    @Test func `no TCP allocation is had over DTLS (RFC 7350 §4.6), and UDP ones are`() throws {
        let server = try TestServer { $0.relaysTCP = true }
        let client = try TestClient(server, transport: .dtls)
        _ = try client.request(.allocate, [.requestedTransport(6)])
        #expect(try client.request(.allocate, [.requestedTransport(6)]).code == 400)
        #expect(try client.request(.allocate, [.requestedTransport(17)]).isSuccess)
    }

    @Test func `the same addresses over UDP and over DTLS are two clients`() throws {
        let server = try TestServer()
        _ = try TestClient(server).relay()
        _ = try TestClient(server, transport: .dtls).relay()
        #expect(server.engine.statistics.allocations == 2)
    }
}
