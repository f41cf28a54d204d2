import Bytes
import Crypto
public import HTTP
public import NetTypes

/// Why a handshake failed; on the server's side with the response that says so.
public enum WebSocketHandshakeError: Error, Equatable, Sendable {
    /// The request is no GET with `Upgrade: websocket` in HTTP/1.1.
    case notAnUpgrade
    /// Sec-WebSocket-Version is not 13.
    case unsupportedVersion
    /// Sec-WebSocket-Key is not 16 bytes in base 64, or comes more than once.
    case invalidKey
    /// The request has content, which nothing would read.
    case unexpectedContent
    /// The client offers none of the subprotocols that the server speaks.
    case noCommonSubprotocol
    /// The server answered with this status instead of 101.
    case refused(HTTPStatus)
    /// The server's 101 lacks Upgrade or Connection, or its Sec-WebSocket-Accept is not for our key.
    case invalidAnswer
    /// The server chose a subprotocol or an extension that was not offered.
    case unofferedChoice

    /// The response that tells the client what is wrong.
    public var response: HTTPResponse {
        switch self {
        case .notAnUpgrade: return Self.upgradeRequired("This address speaks WebSocket (RFC 6455) only.\n")
        case .unsupportedVersion:
            var response = Self.upgradeRequired("This server speaks WebSocket version 13 only.\n")
            response.headers["Sec-WebSocket-Version"] = "13"
            return response
        case .invalidKey: return HTTPResponse(.badRequest, text: "Sec-WebSocket-Key must be 16 bytes in base 64.\n")
        case .unexpectedContent: return HTTPResponse(.badRequest, text: "A WebSocket handshake has no content.\n")
        case .noCommonSubprotocol:
            return HTTPResponse(.badRequest, text: "Sec-WebSocket-Protocol offers no protocol that is spoken here.\n")
        case .refused, .invalidAnswer, .unofferedChoice:
            return HTTPResponse(.badRequest, text: "The WebSocket handshake failed.\n")
        }
    }

    private static func upgradeRequired(_ text: String) -> HTTPResponse {
        var response = HTTPResponse(.upgradeRequired, text: text)
        response.headers["Connection"] = "Upgrade"
        response.headers["Upgrade"] = "websocket"
        return response
    }
}

/// The opening handshake, the server's side (RFC 6455 §4.2).
public enum WebSocketHandshake {
    /// What follows from a good request.
    public struct Accepted: Sendable {
        /// The 101 to respond with.
        public let response: HTTPResponse
        /// The subprotocol that was chosen, or `nil` if the client offered none of ours.
        public let subprotocol: String?
    }

    /// Checks a request and chooses the first of `subprotocols` that the client offers.
    ///
    /// With `requiresSubprotocol` a client that offers none of them is refused. The Origin is for the caller to judge
    /// (`HTTPOrigin`). Extensions are not negotiated.
    ///
    /// - Throws: Why the request is refused; respond with the error's `response`.
    public static func accept(
        _ request: HTTPRequest,
        subprotocols: [String] = [],
        requiresSubprotocol: Bool = false
    ) throws(WebSocketHandshakeError) -> Accepted {
        guard request.method == .get, request.asksToUpgrade(to: "websocket") else { throw .notAnUpgrade }
        guard request.body.isEmpty else { throw .unexpectedContent }
        guard request.headers.values("Sec-WebSocket-Version") == ["13"] else { throw .unsupportedVersion }
        let keys = request.headers.values("Sec-WebSocket-Key")
        guard keys.count == 1, Base64.decode(keys[0])?.count == 16 else { throw .invalidKey }
        let offered = request.headers.list("Sec-WebSocket-Protocol")
        let chosen = subprotocols.first { offered.contains($0) }
        if requiresSubprotocol && chosen == nil { throw .noCommonSubprotocol }
        var response = HTTPResponse(
            .switchingProtocols,
            headers: [
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": acceptValue(forKey: keys[0]),
            ]
        )
        response.headers["Sec-WebSocket-Protocol"] = chosen
        return Accepted(response: response, subprotocol: chosen)
    }

    /// The Sec-WebSocket-Accept that proves that the server has read the key (RFC 6455 §4.2.2 item 5.4).
    static func acceptValue(forKey key: String) -> String {
        Base64.encode(MessageDigest.sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
    }
}

/// The opening handshake, the client's side (RFC 6455 §4.1).
public struct WebSocketClientHandshake: Sendable {
    private let key: String
    private let subprotocols: [String]
    /// The request to send.
    public let requestBytes: [UInt8]

    /// Makes the request for `target` (origin form, percent-encoded) at `authority` (host and port).
    ///
    /// `headers` are added, for instance Origin.
    public init(
        authority: String,
        target: String,
        subprotocols: [String] = [],
        headers: HTTPHeaders = [:],
        entropy: inout Entropy
    ) {
        key = Base64.encode(entropy.bytes(16))
        self.subprotocols = subprotocols
        var fields: HTTPHeaders = [
            "Host": authority, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        ]
        if !subprotocols.isEmpty { fields["Sec-WebSocket-Protocol"] = subprotocols.joined(separator: ", ") }
        for field in headers.fields { fields.append(field.name, field.value) }
        requestBytes = HTTPRequest.encode(.get, target: target, headers: fields)
    }

    /// Checks the server's answer and returns the subprotocol that it chose.
    ///
    /// Read the answer with `HTTPResponseParser`; what is behind it is the beginning of the WebSocket's stream.
    ///
    /// - Throws: `refused` with the status if it is not 101, else what is wrong with it.
    public func check(_ response: HTTPResponseParser.Response) throws(WebSocketHandshakeError) -> String? {
        guard response.status == .switchingProtocols else { throw .refused(response.status) }
        let headers = response.headers
        guard headers.contains("websocket", in: "Upgrade"), headers.contains("Upgrade", in: "Connection"),
            headers.values("Sec-WebSocket-Accept") == [WebSocketHandshake.acceptValue(forKey: key)]
        else { throw .invalidAnswer }
        guard headers.values("Sec-WebSocket-Extensions").isEmpty else { throw .unofferedChoice }
        let chosen = headers.values("Sec-WebSocket-Protocol")
        guard chosen.isEmpty || (chosen.count == 1 && subprotocols.contains(chosen[0])) else { throw .unofferedChoice }
        return chosen.first
    }
}
