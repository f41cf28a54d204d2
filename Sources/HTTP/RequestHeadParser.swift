/// Turns the lines of a request's head into a checked `HTTPRequest` without content (RFC 9112 §3, §5, §6).
struct RequestHeadParser {
    /// How the end of the content is found (RFC 9112 §6.3).
    enum Framing: Equatable {
        case length(Int)
        case chunked
    }

    private let limits: HTTPLimits
    private var line: (method: HTTPMethod, target: HTTPTarget, minorVersion: Int)?
    private var section: HeaderSection
    private var skippedEmptyLine = false

    init(limits: HTTPLimits) {
        self.limits = limits
        section = HeaderSection(limits: limits)
    }

    /// Whether anything of the request was read.
    var isEmpty: Bool { line == nil && !skippedEmptyLine }

    /// Takes lines until the head is complete; `nil` if it is not complete yet.
    mutating func parse(_ buffer: inout LineBuffer) throws(HTTPDropReason) -> (HTTPRequest, Framing)? {
        while line == nil {
            guard let bytes = try buffer.takeLine(limit: limits.requestLineBytes, tooLong: .requestLineTooLong) else {
                return nil
            }
            // RFC 9112 §2.2: one empty line before the request line is ignored.
            if bytes.isEmpty && !skippedEmptyLine {
                skippedEmptyLine = true
            } else {
                line = try Self.requestLine(bytes)
            }
        }
        guard let line, try section.parse(&buffer) else { return nil }
        let request = HTTPRequest(
            method: line.method,
            target: line.target,
            minorVersion: line.minorVersion,
            headers: section.headers
        )
        try Self.checkHost(request)
        let framing = try framing(request)
        if let expectation = request.headers["Expect"], request.minorVersion == 1 {
            guard expectation.equalsIgnoringCase("100-continue") else { throw .unsupportedExpectation }
        }
        guard request.method != .connect else { throw .connectNotSupported }
        return (request, framing)
    }

    private static func requestLine(
        _ line: ArraySlice<UInt8>
    ) throws(HTTPDropReason) -> (method: HTTPMethod, target: HTTPTarget, minorVersion: Int) {
        let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[1].isEmpty else { throw .malformedRequestLine }
        guard (1...32).contains(parts[0].count), parts[0].allSatisfy(\.isTokenCharacter) else { throw .invalidMethod }
        let method = HTTPMethod(rawValue: String(decoding: parts[0], as: UTF8.self))
        let version = Array(parts[2])
        guard version.count == 8, version.starts(with: "HTTP/".utf8), version[5].isDigit,
            version[6] == UInt8(ascii: "."), version[7].isDigit
        else { throw .malformedRequestLine }
        // A higher minor version is answered as 1.1 (RFC 9110 §2.5), a higher major version speaks another language.
        guard version[5] == UInt8(ascii: "1") else { throw .unsupportedVersion }
        let minorVersion = version[7] == UInt8(ascii: "0") ? 0 : 1
        // CONNECT has the authority form, which nothing else has; it is refused once the head is complete.
        let target = method == .connect ? Array("/".utf8)[...] : parts[1]
        return (method, try HTTPTarget(parsing: target, method: method), minorVersion)
    }

    private static func checkHost(_ request: HTTPRequest) throws(HTTPDropReason) {
        let hosts = request.headers.values("Host")
        guard hosts.count < 2 else { throw .duplicateHost }
        guard let host = hosts.first else {
            if request.minorVersion == 0 { return }
            throw .missingHost
        }
        // Departure: RFC 9112 §3.2 allows an empty Host where the target has no authority; no http target lacks one.
        guard HTTPTarget.isAuthority(Array(host.utf8)[...]) else { throw .invalidHost }
    }

    private func framing(_ request: HTTPRequest) throws(HTTPDropReason) -> Framing {
        let lengths = request.headers.values("Content-Length")
        if !request.headers.values("Transfer-Encoding").isEmpty {
            // Departure: RFC 9112 §6.3 lets a server process such a message as chunked; a refusal is never ambiguous.
            guard lengths.isEmpty else { throw .contentLengthWithTransferEncoding }
            return try Self.transferCoding(request)
        }
        guard let text = lengths.first else { return .length(0) }
        guard lengths.count == 1 else { throw .duplicateContentLength }
        let length = try Self.contentLength(text)
        guard length <= limits.bodyBytes else { throw .bodyTooLarge }
        return .length(length)
    }

    private static func transferCoding(_ request: HTTPRequest) throws(HTTPDropReason) -> Framing {
        let codings = request.headers.list("Transfer-Encoding")
        let chunked = codings.filter { $0.equalsIgnoringCase("chunked") }.count
        guard request.minorVersion == 1, chunked == 1, codings.last?.equalsIgnoringCase("chunked") == true else {
            throw chunked == 0 && !codings.isEmpty && request.minorVersion == 1
                ? .unsupportedTransferEncoding : .invalidTransferEncoding
        }
        guard codings.count == 1 else { throw .unsupportedTransferEncoding }
        return .chunked
    }

    /// The value of a Content-Length field; a number too large for an `Int` is the largest there is.
    static func contentLength(_ text: String) throws(HTTPDropReason) -> Int {
        guard !text.isEmpty, text.utf8.allSatisfy(\.isDigit) else { throw .invalidContentLength }
        return Int(text) ?? .max
    }
}

/// Collects the field lines of a header or trailer section up to the empty line (RFC 9112 §5).
struct HeaderSection {
    private(set) var headers = HTTPHeaders()
    private var bytesLeft: Int
    private var fieldsLeft: Int

    init(limits: HTTPLimits) {
        bytesLeft = limits.headBytes
        fieldsLeft = limits.headerFields
    }

    /// Takes lines; `true` once the empty line was taken.
    mutating func parse(_ buffer: inout LineBuffer) throws(HTTPDropReason) -> Bool {
        while let line = try buffer.takeLine(limit: bytesLeft, tooLong: .headersTooLong) {
            if line.isEmpty { return true }
            bytesLeft -= line.count
            guard fieldsLeft > 0 else { throw .tooManyHeaders }
            fieldsLeft -= 1
            let field = try Self.field(line)
            headers.append(field.name, field.value)
        }
        return false
    }

    private static func field(_ line: ArraySlice<UInt8>) throws(HTTPDropReason) -> HTTPHeaders.Field {
        if line.first?.isWhitespace == true { throw .foldedHeader }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { throw .invalidHeaderName }
        let name = line[..<colon]
        guard !name.isEmpty, name.allSatisfy(\.isTokenCharacter) else { throw .invalidHeaderName }
        return HTTPHeaders.Field(
            name: String(decoding: name, as: UTF8.self),
            value: String(decoding: line[(colon + 1)...].trimmed, as: UTF8.self)
        )
    }
}
