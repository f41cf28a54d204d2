import NetTypes

/// A response to one request; the connection adds Date, Content-Length and Connection by itself.
public struct HTTPResponse: Sendable, Equatable {
    /// The status.
    public var status: HTTPStatus
    /// The header fields; Date, Content-Length, Transfer-Encoding and Connection (but for 101 and 426) are left out when sent.
    public var headers: HTTPHeaders
    /// The content; not sent in answer to HEAD and with a status that forbids content.
    public var body: [UInt8]
    /// Whether the connection is to close after this response.
    public var closesConnection = false

    /// Makes a response.
    public init(_ status: HTTPStatus, headers: HTTPHeaders = [:], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// Makes a response whose content is plain text.
    public init(_ status: HTTPStatus, text: String) {
        self.init(status, headers: ["Content-Type": "text/plain; charset=utf-8"], body: Array(text.utf8))
    }

    /// A response with `body`, or 304 without it if the client's copy is fresh (RFC 9110 §13.1.2, §15.4.5).
    ///
    /// `headers` go with either; both get an ETag.
    public static func cacheable(
        _ body: [UInt8],
        tag: EntityTag,
        headers: HTTPHeaders,
        for request: HTTPRequest
    ) -> HTTPResponse {
        var headers = headers
        headers["ETag"] = tag.text
        let isFresh =
            (request.method == .get || request.method == .head)
            && request.headers.values("If-None-Match").contains { tag.matches(ifNoneMatch: $0) }
        return isFresh
            ? HTTPResponse(.notModified, headers: headers) : HTTPResponse(.ok, headers: headers, body: body)
    }

    /// Appends the status line and the header section.
    func appendHead(to bytes: inout [UInt8], unixSeconds: UInt64, keepsAlive: Bool, clientMinorVersion: Int) {
        bytes.append(contentsOf: "HTTP/1.1 \(status.rawValue) \(status.reasonPhrase)\r\n".utf8)
        for field in headers.fields where !Self.isOwnField(field.name, in: status) {
            Self.append(field, to: &bytes)
        }
        Self.append(.init(name: "Date", value: CivilTime(unixSeconds: unixSeconds).imfFixdate), to: &bytes)
        if !status.forbidsContent {
            Self.append(.init(name: "Content-Length", value: String(body.count)), to: &bytes)
        }
        if status != .switchingProtocols {
            if !keepsAlive {
                Self.append(.init(name: "Connection", value: "close"), to: &bytes)
            } else if clientMinorVersion == 0 {
                Self.append(.init(name: "Connection", value: "keep-alive"), to: &bytes)
            }
        }
        bytes.append(contentsOf: "\r\n".utf8)
    }

    private static func isOwnField(_ name: String, in status: HTTPStatus) -> Bool {
        name.equalsIgnoringCase("Date") || name.equalsIgnoringCase("Content-Length")
            || name.equalsIgnoringCase("Transfer-Encoding")
            || (status != .switchingProtocols && status != .upgradeRequired && name.equalsIgnoringCase("Connection"))
    }

    /// Appends a field line; a name that is no token is left out, controls in the value become spaces (RFC 9110 §5.5),
    /// so that no text of a peer that ends up in a header can split the response.
    static func append(_ field: HTTPHeaders.Field, to bytes: inout [UInt8]) {
        guard !field.name.isEmpty, field.name.utf8.allSatisfy(\.isTokenCharacter) else { return }
        bytes.append(contentsOf: field.name.utf8)
        bytes.append(contentsOf: ": ".utf8)
        bytes.append(contentsOf: field.value.utf8.lazy.map { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F ? 0x20 : $0 })
        bytes.append(contentsOf: "\r\n".utf8)
    }
}
