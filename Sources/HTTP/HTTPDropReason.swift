public import NetTypes

/// Why a request was refused or a connection given up; the raw values are the names in logs and metrics.
public enum HTTPDropReason: String, DropReason, Error {
    /// The request line is not method, target and version with one space between them.
    case malformedRequestLine
    /// The method is not a token, or longer than 32 characters.
    case invalidMethod
    /// The target is in no form that the method allows, or has characters that must be escaped.
    case invalidTarget
    /// The version is not 1.0 or 1.1 but some other one (505).
    case unsupportedVersion
    /// The request line is longer than `requestLineBytes` (414).
    case requestLineTooLong
    /// A carriage return without a line feed behind it.
    case bareCarriageReturn
    /// A line feed without a carriage return before it.
    case bareLineFeed
    /// A NUL or another control character where none may be.
    case controlCharacter
    /// A header line begins with a space or a tab (`obs-fold`).
    case foldedHeader
    /// A field name is empty or no token, or a space stands before the colon.
    case invalidHeaderName
    /// The header section is longer than `headBytes` (431).
    case headersTooLong
    /// There are more than `headerFields` header fields (431).
    case tooManyHeaders
    /// An HTTP/1.1 request without Host.
    case missingHost
    /// More than one Host field.
    case duplicateHost
    /// Host is not `host [":" port]`, or is empty.
    case invalidHost
    /// Content-Length is not a number.
    case invalidContentLength
    /// More than one Content-Length, equal ones included.
    case duplicateContentLength
    /// Content-Length beside Transfer-Encoding: a sign of request smuggling.
    case contentLengthWithTransferEncoding
    /// Transfer-Encoding in HTTP/1.0, twice `chunked`, or `chunked` not last.
    case invalidTransferEncoding
    /// A transfer coding other than `chunked` (501).
    case unsupportedTransferEncoding
    /// A chunk's size, end or trailer is malformed, or the framing is out of proportion to the content.
    case invalidChunk
    /// The body is longer than `bodyBytes` (413).
    case bodyTooLarge
    /// Expect is something else than `100-continue` (417).
    case unsupportedExpectation
    /// The method is CONNECT (501).
    case connectNotSupported
    /// The header section did not arrive in time (408).
    case headTimeout
    /// The body did not arrive in time (408).
    case bodyTimeout
    /// The peer reads the response too slowly; the connection is cut.
    case responseTimeout
    /// The peer ended its side in the middle of a request.
    case truncatedRequest
    /// The peer sent more than `pipelinedBytes` while a request was answered.
    case pipelineOverflow
    /// Bytes came after the connection was given up; counted once.
    case afterClose

    /// The status that tells the client, or `nil` if there is nobody to tell.
    public var status: HTTPStatus? {
        switch self {
        case .malformedRequestLine, .invalidMethod, .invalidTarget, .bareCarriageReturn, .bareLineFeed,
            .controlCharacter, .foldedHeader, .invalidHeaderName, .missingHost, .duplicateHost, .invalidHost,
            .invalidContentLength, .duplicateContentLength, .contentLengthWithTransferEncoding,
            .invalidTransferEncoding, .invalidChunk:
            .badRequest
        case .unsupportedVersion: .httpVersionNotSupported
        case .requestLineTooLong: .uriTooLong
        case .headersTooLong, .tooManyHeaders: .requestHeaderFieldsTooLarge
        case .unsupportedTransferEncoding, .connectNotSupported: .notImplemented
        case .bodyTooLarge: .contentTooLarge
        case .unsupportedExpectation: .expectationFailed
        case .headTimeout, .bodyTimeout: .requestTimeout
        case .responseTimeout, .truncatedRequest, .pipelineOverflow, .afterClose: nil
        }
    }

    /// A sentence for the person who made the request: what is wrong and what to do.
    public var explanation: String {
        switch self {
        case .malformedRequestLine: "The request line must be a method, a target and a version, one space apart."
        case .invalidMethod: "The method in the request line is not a valid token."
        case .invalidTarget: "The target in the request line is malformed; special characters must be percent-encoded."
        case .unsupportedVersion: "This server speaks HTTP/1.1 and HTTP/1.0 only."
        case .requestLineTooLong: "The request line is too long; shorten the URL."
        case .bareCarriageReturn, .bareLineFeed: "Lines must end with CR LF, and neither may stand alone."
        case .controlCharacter: "The header section has a control character. Is this plain HTTP?"
        case .foldedHeader: "A header line begins with white space; folded headers are obsolete."
        case .invalidHeaderName: "A header name is malformed, or is not followed by a colon at once."
        case .headersTooLong: "The header section is too long; are there too many cookies?"
        case .tooManyHeaders: "There are too many header fields."
        case .missingHost: "The Host header is missing."
        case .duplicateHost: "There is more than one Host header."
        case .invalidHost: "The Host header is not a host name or address with an optional port."
        case .invalidContentLength: "Content-Length is not a number."
        case .duplicateContentLength: "There is more than one Content-Length."
        case .contentLengthWithTransferEncoding: "Content-Length and Transfer-Encoding must not come together."
        case .invalidTransferEncoding: "Transfer-Encoding must be chunked, once, and in HTTP/1.1 only."
        case .unsupportedTransferEncoding: "The only transfer coding understood here is chunked."
        case .invalidChunk: "The chunked body is malformed."
        case .bodyTooLarge: "The body is too large."
        case .unsupportedExpectation: "The only expectation understood here is 100-continue."
        case .connectNotSupported: "This server is not a proxy."
        case .headTimeout: "The header section took too long to arrive."
        case .bodyTimeout: "The body took too long to arrive."
        case .responseTimeout: "The response was read too slowly."
        case .truncatedRequest: "The connection ended in the middle of a request."
        case .pipelineOverflow: "Too much was sent before the last request was answered."
        case .afterClose: "The connection is being closed."
        }
    }
}
