import HTTP
import NetTypes
import Testing
import WebSocket

@Suite("WebSocket handshake")
struct WebSocketHandshakeTests {
    private func request(
        _ method: String = "GET",
        version: String = "1.1",
        body: String = "",
        _ change: (inout HTTPHeaders) -> Void = { _ in }
    ) throws -> HTTPRequest {
        var headers: HTTPHeaders = [
            "Host": "a", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
        ]
        if !body.isEmpty { headers["Content-Length"] = String(body.utf8.count) }
        change(&headers)
        let lines = headers.fields.map { "\($0.name): \($0.value)\r\n" }.joined()
        var connection = HTTPServerConnection(wallClock: WallClock(unixSeconds: 0, at: .zero), at: .zero)
        connection.receive(Array("\(method) /signal HTTP/\(version)\r\n\(lines)\r\n\(body)".utf8).span, at: .zero)
        guard case .request(let request) = connection.pollEvent() else { throw WebSocketHandshakeError.notAnUpgrade }
        return request
    }

    // RFC 6455 §1.3.
    @Test
    func `the example of the RFC is accepted with its answer`() throws {
        let accepted = try WebSocketHandshake.accept(request())
        #expect(accepted.response.status == .switchingProtocols)
        #expect(accepted.response.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(accepted.response.headers["Upgrade"] == "websocket")
        #expect(accepted.response.headers["Connection"] == "Upgrade")
        #expect(accepted.response.headers["Sec-WebSocket-Protocol"] == nil)
        #expect(accepted.subprotocol == nil)
    }

    @Test
    func `what does not ask for version 13 by the rules is refused with a reason`() {
        func refusal(_ request: @autoclosure () throws -> HTTPRequest) -> WebSocketHandshakeError? {
            do {
                _ = try WebSocketHandshake.accept(request())
                return nil
            } catch {
                return error as? WebSocketHandshakeError
            }
        }
        #expect(refusal(try request("POST")) == .notAnUpgrade)
        #expect(refusal(try request(version: "1.0")) == .notAnUpgrade)
        #expect(refusal(try request { $0["Upgrade"] = "h2c" }) == .notAnUpgrade)
        #expect(refusal(try request { $0["Upgrade"] = nil }) == .notAnUpgrade)
        #expect(refusal(try request { $0["Connection"] = "keep-alive" }) == .notAnUpgrade)
        #expect(refusal(try request(body: "x")) == .unexpectedContent)
        #expect(refusal(try request { $0["Sec-WebSocket-Version"] = "8" }) == .unsupportedVersion)
        #expect(refusal(try request { $0["Sec-WebSocket-Version"] = nil }) == .unsupportedVersion)
        #expect(refusal(try request { $0.append("Sec-WebSocket-Version", "13") }) == .unsupportedVersion)
        #expect(refusal(try request { $0["Sec-WebSocket-Key"] = nil }) == .invalidKey)
        #expect(refusal(try request { $0["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ" }) == .invalidKey)
        #expect(refusal(try request { $0["Sec-WebSocket-Key"] = "AAAA" }) == .invalidKey)
        #expect(refusal(try request { $0.append("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==") }) == .invalidKey)
        #expect(refusal(try request { $0["Upgrade"] = "WebSocket, h2c" }) == nil)
    }

    @Test
    func `refusals tell the client what to do`() {
        #expect(WebSocketHandshakeError.notAnUpgrade.response.status == .upgradeRequired)
        #expect(WebSocketHandshakeError.notAnUpgrade.response.headers["Upgrade"] == "websocket")
        #expect(WebSocketHandshakeError.unsupportedVersion.response.status == .upgradeRequired)
        #expect(WebSocketHandshakeError.unsupportedVersion.response.headers["Sec-WebSocket-Version"] == "13")
        #expect(WebSocketHandshakeError.noCommonSubprotocol.response.status == .badRequest)
        #expect(WebSocketHandshakeError.invalidKey.response.status == .badRequest)
        #expect(WebSocketHandshakeError.unexpectedContent.response.status == .badRequest)
    }

    @Test(arguments: [
        ("floe.v1", "floe.v1"), ("x, floe.v1", "floe.v1"), ("floe.v1, floe.v2", "floe.v2"), ("floe", nil),
        ("FLOE.V1", nil), ("", nil),
    ])
    func `the server's first choice among the offers is taken`(_ offer: String, _ chosen: String?) throws {
        let request = try request { $0["Sec-WebSocket-Protocol"] = offer }
        let spoken = ["floe.v2", "floe.v1"]
        let accepted = try WebSocketHandshake.accept(request, subprotocols: spoken)
        #expect(accepted.subprotocol == chosen)
        #expect(accepted.response.headers["Sec-WebSocket-Protocol"] == chosen)
        if chosen == nil {
            #expect(throws: WebSocketHandshakeError.noCommonSubprotocol) {
                try WebSocketHandshake.accept(request, subprotocols: spoken, requiresSubprotocol: true)
            }
        }
    }

    @Test
    func `client and server shake hands over HTTP and then talk`() throws {
        var entropy = Entropy.seeded(3)
        let handshake = WebSocketClientHandshake(
            authority: "example.org:8443",
            target: "/signal",
            subprotocols: ["floe.v1"],
            headers: ["Origin": "https://example.org:8443"],
            entropy: &entropy
        )
        var http = HTTPServerConnection(wallClock: WallClock(unixSeconds: 0, at: .zero), at: .zero)
        let client = TestEnd(.client)
        #expect(client.send("early"))
        // A hasty client sends its first message behind the request.
        http.receive((handshake.requestBytes + client.output()).span, at: .zero)
        guard case .request(let request) = http.pollEvent() else { throw WebSocketHandshakeError.notAnUpgrade }
        #expect(request.headers["Origin"] == "https://example.org:8443")
        let accepted = try WebSocketHandshake.accept(request, subprotocols: ["floe.v1"], requiresSubprotocol: true)
        http.respond(accepted.response, at: .zero)
        let answer = [UInt8](capacity: 4096) { _ = http.pollTransmit(at: .zero, into: &$0) }

        let server = TestEnd()
        server.feed(http.takeUpgradedBytes())
        #expect(server.events() == [.text("early")])
        #expect(server.send("welcome"))
        var parser = HTTPResponseParser()
        let response = try #require(try parser.receive((answer + server.output()).span))
        #expect(try handshake.check(response) == "floe.v1")
        client.feed(parser.takeRemainingBytes())
        #expect(client.events() == [.text("welcome")])
    }

    @Test
    func `a client checks the answer`() throws {
        var entropy = Entropy.seeded(0)
        let handshake = WebSocketClientHandshake(
            authority: "a",
            target: "/",
            subprotocols: ["x"],
            entropy: &entropy
        )
        var http = HTTPServerConnection(wallClock: WallClock(unixSeconds: 0, at: .zero), at: .zero)
        http.receive(handshake.requestBytes.span, at: .zero)
        guard case .request(let request) = http.pollEvent() else { throw WebSocketHandshakeError.notAnUpgrade }
        let good = try WebSocketHandshake.accept(request, subprotocols: ["x"]).response.headers

        func check(_ status: Int, _ change: (inout HTTPHeaders) -> Void) throws -> String? {
            var headers = good
            change(&headers)
            let lines = headers.fields.map { "\($0.name): \($0.value)\r\n" }.joined()
            var parser = HTTPResponseParser()
            let text = "HTTP/1.1 \(status) X\r\n\(lines)\(status == 101 ? "" : "Content-Length: 0\r\n")\r\n"
            return try handshake.check(#require(try parser.receive(Array(text.utf8).span)))
        }
        #expect(try check(101) { _ in } == "x")
        #expect(try check(101) { $0["Sec-WebSocket-Protocol"] = nil } == nil)
        #expect(throws: WebSocketHandshakeError.refused(.forbidden)) { try check(403) { _ in } }
        #expect(throws: WebSocketHandshakeError.invalidAnswer) { try check(101) { $0["Upgrade"] = nil } }
        #expect(throws: WebSocketHandshakeError.invalidAnswer) { try check(101) { $0["Connection"] = "close" } }
        #expect(throws: WebSocketHandshakeError.invalidAnswer) { try check(101) { $0["Sec-WebSocket-Accept"] = nil } }
        #expect(throws: WebSocketHandshakeError.invalidAnswer) {
            try check(101) { $0["Sec-WebSocket-Accept"] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }
        }
        #expect(throws: WebSocketHandshakeError.unofferedChoice) {
            try check(101) { $0["Sec-WebSocket-Protocol"] = "y" }
        }
        #expect(throws: WebSocketHandshakeError.unofferedChoice) {
            try check(101) { $0["Sec-WebSocket-Extensions"] = "permessage-deflate" }
        }
    }
}
