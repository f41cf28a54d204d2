/// The client's side: reads one response (RFC 9112 §4, §6.3); interim responses but 101 are skipped.
public struct HTTPResponseParser: Sendable {
    /// A response as it arrived.
    public struct Response: Sendable, Equatable {
        /// The status.
        public let status: HTTPStatus
        /// The header fields.
        public let headers: HTTPHeaders
        /// The content, without its framing.
        public let body: [UInt8]
    }

    private enum State {
        case statusLine
        case headers(HTTPStatus, HeaderSection)
        case body(HTTPStatus, HTTPHeaders, BodyDecoder)
        case bodyUntilEnd(HTTPStatus, HTTPHeaders, [UInt8])
        case done
    }

    private let limits: HTTPLimits
    private let isHead: Bool
    private var state = State.statusLine
    private var input = LineBuffer()

    /// Makes a parser for the response to one request; a response to HEAD has no content whatever its fields say.
    public init(limits: HTTPLimits = HTTPLimits(), toHead isHead: Bool = false) {
        self.limits = limits
        self.isHead = isHead
    }

    /// Takes bytes and returns the response once, when it is complete.
    ///
    /// - Throws: What is wrong with it; the connection is then of no more use.
    public mutating func receive(_ bytes: Span<UInt8>) throws(HTTPDropReason) -> Response? {
        input.append(bytes)
        return try advance()
    }

    /// Takes the end of the stream, which is the end of a response without a length.
    public mutating func receiveEnd() throws(HTTPDropReason) -> Response? {
        guard case .bodyUntilEnd(let status, let headers, let body) = state else {
            if case .done = state { return nil }
            throw .truncatedRequest
        }
        state = .done
        return Response(status: status, headers: headers, body: body)
    }

    /// Takes the bytes behind the response: the next response, or the protocol that was switched to.
    public mutating func takeRemainingBytes() -> [UInt8] { input.takeAll() }

    private mutating func advance() throws(HTTPDropReason) -> Response? {
        while true {
            switch state {
            case .statusLine:
                guard let line = try input.takeLine(limit: limits.requestLineBytes, tooLong: .requestLineTooLong) else {
                    return nil
                }
                state = .headers(try Self.status(line), HeaderSection(limits: limits))
            case .headers(let status, var section):
                let isComplete = try section.parse(&input)
                state = .headers(status, section)
                guard isComplete else { return nil }
                state = try bodyState(status, section.headers)
            case .body(let status, let headers, var decoder):
                state = .done
                guard try decoder.decode(&input) else {
                    state = .body(status, headers, decoder)
                    return nil
                }
                return Response(status: status, headers: headers, body: decoder.content)
            case .bodyUntilEnd(let status, let headers, var body):
                state = .done
                body.append(contentsOf: input.take(input.count))
                guard body.count <= limits.bodyBytes else { throw .bodyTooLarge }
                state = .bodyUntilEnd(status, headers, body)
                return nil
            case .done: return nil
            }
        }
    }

    private func bodyState(_ status: HTTPStatus, _ headers: HTTPHeaders) throws(HTTPDropReason) -> State {
        if status.rawValue < 200 && status != .switchingProtocols { return .statusLine }
        if isHead || status.forbidsContent { return .body(status, headers, BodyDecoder(.length(0), limits: limits)) }
        let lengths = headers.values("Content-Length")
        if headers["Transfer-Encoding"] != nil {
            guard lengths.isEmpty else { throw .contentLengthWithTransferEncoding }
            guard headers["Transfer-Encoding"]?.equalsIgnoringCase("chunked") == true else {
                throw .unsupportedTransferEncoding
            }
            return .body(status, headers, BodyDecoder(.chunked, limits: limits))
        }
        guard let text = lengths.first else { return .bodyUntilEnd(status, headers, []) }
        guard lengths.count == 1 else { throw .duplicateContentLength }
        let length = try RequestHeadParser.contentLength(text)
        guard length <= limits.bodyBytes else { throw .bodyTooLarge }
        return .body(status, headers, BodyDecoder(.length(length), limits: limits))
    }

    private static func status(_ line: ArraySlice<UInt8>) throws(HTTPDropReason) -> HTTPStatus {
        let bytes = Array(line)
        guard bytes.count >= 12, bytes.starts(with: "HTTP/1.".utf8), bytes[7].isDigit, bytes[8] == 0x20,
            bytes[9...11].allSatisfy(\.isDigit), bytes.count == 12 || bytes[12] == 0x20,
            let code = Int(String(decoding: bytes[9...11], as: UTF8.self)), code >= 100
        else { throw .malformedRequestLine }
        return HTTPStatus(rawValue: code)
    }
}
