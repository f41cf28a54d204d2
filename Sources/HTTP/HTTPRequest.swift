/// A complete request: header section and content (RFC 9110 §6).
public struct HTTPRequest: Sendable, Equatable {
    /// The method; the engine lets every token but CONNECT pass.
    public let method: HTTPMethod
    /// What is asked for.
    public let target: HTTPTarget
    /// The minor version, 0 or 1, after the major version 1.
    public let minorVersion: Int
    /// The header fields; values that are not UTF-8 are repaired.
    public let headers: HTTPHeaders
    /// The content, without its framing.
    public internal(set) var body: [UInt8] = []

    /// Host and port as the client wrote them: of an absolute target, else of Host; `nil` only in HTTP/1.0.
    public var authority: String? { target.authority ?? headers["Host"] }

    /// Whether the client asks to switch to `protocolName` (RFC 9110 §7.8).
    public func asksToUpgrade(to protocolName: String) -> Bool {
        minorVersion == 1 && headers.contains("Upgrade", in: "Connection")
            && headers.contains(protocolName, in: "Upgrade")
    }

    /// Whether the connection may stay open after the response (RFC 9112 §9.3).
    var keepsAlive: Bool {
        if headers.contains("close", in: "Connection") { return false }
        return minorVersion == 1 || headers.contains("keep-alive", in: "Connection")
    }
}

extension HTTPRequest {
    /// The bytes of a client's request; Content-Length is added if there is a body.
    ///
    /// `target` must be in origin form and percent-encoded, and `headers` must have Host.
    public static func encode(
        _ method: HTTPMethod,
        target: String,
        headers: HTTPHeaders,
        body: [UInt8] = []
    ) -> [UInt8] {
        var bytes = Array("\(method.rawValue) \(target) HTTP/1.1\r\n".utf8)
        for field in headers.fields { HTTPResponse.append(field, to: &bytes) }
        if !body.isEmpty { HTTPResponse.append(.init(name: "Content-Length", value: String(body.count)), to: &bytes) }
        bytes.append(contentsOf: "\r\n".utf8)
        return bytes + body
    }
}
