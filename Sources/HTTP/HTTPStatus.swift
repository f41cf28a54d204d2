/// A status code (RFC 9110 §15); unknown ones are kept.
public struct HTTPStatus: RawRepresentable, Hashable, Sendable {
    /// The three-digit number.
    public let rawValue: Int

    /// Makes a status of any number.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// 100: send the content.
    public static let `continue` = HTTPStatus(rawValue: 100)
    /// 101: the connection speaks another protocol from here on.
    public static let switchingProtocols = HTTPStatus(rawValue: 101)
    /// 200: done.
    public static let ok = HTTPStatus(rawValue: 200)
    /// 201: a new resource, named in Location.
    public static let created = HTTPStatus(rawValue: 201)
    /// 204: done, and there is nothing to show.
    public static let noContent = HTTPStatus(rawValue: 204)
    /// 301: has moved for good.
    public static let movedPermanently = HTTPStatus(rawValue: 301)
    /// 302: is elsewhere for now.
    public static let found = HTTPStatus(rawValue: 302)
    /// 304: what the client has is fresh.
    public static let notModified = HTTPStatus(rawValue: 304)
    /// 307: is elsewhere for now; same method there.
    public static let temporaryRedirect = HTTPStatus(rawValue: 307)
    /// 308: has moved for good; same method there.
    public static let permanentRedirect = HTTPStatus(rawValue: 308)
    /// 400: not understood.
    public static let badRequest = HTTPStatus(rawValue: 400)
    /// 401: credentials are missing or wrong.
    public static let unauthorized = HTTPStatus(rawValue: 401)
    /// 403: understood and refused.
    public static let forbidden = HTTPStatus(rawValue: 403)
    /// 404: there is no such resource.
    public static let notFound = HTTPStatus(rawValue: 404)
    /// 405: not with this method; Allow names those that work.
    public static let methodNotAllowed = HTTPStatus(rawValue: 405)
    /// 408: the request did not arrive in time.
    public static let requestTimeout = HTTPStatus(rawValue: 408)
    /// 409: stands against the state of the resource.
    public static let conflict = HTTPStatus(rawValue: 409)
    /// 411: only with a Content-Length.
    public static let lengthRequired = HTTPStatus(rawValue: 411)
    /// 412: a precondition does not hold.
    public static let preconditionFailed = HTTPStatus(rawValue: 412)
    /// 413: the content is too large.
    public static let contentTooLarge = HTTPStatus(rawValue: 413)
    /// 414: the target is too long.
    public static let uriTooLong = HTTPStatus(rawValue: 414)
    /// 415: content of a type that is not read here.
    public static let unsupportedMediaType = HTTPStatus(rawValue: 415)
    /// 417: the Expect field asks for something unknown.
    public static let expectationFailed = HTTPStatus(rawValue: 417)
    /// 421: this server does not answer for that host here.
    public static let misdirectedRequest = HTTPStatus(rawValue: 421)
    /// 426: only with another protocol, named in Upgrade.
    public static let upgradeRequired = HTTPStatus(rawValue: 426)
    /// 429: too many requests (RFC 6585 §4).
    public static let tooManyRequests = HTTPStatus(rawValue: 429)
    /// 431: the header section is too large (RFC 6585 §5).
    public static let requestHeaderFieldsTooLarge = HTTPStatus(rawValue: 431)
    /// 500: the server is at fault.
    public static let internalServerError = HTTPStatus(rawValue: 500)
    /// 501: not built in.
    public static let notImplemented = HTTPStatus(rawValue: 501)
    /// 503: not now.
    public static let serviceUnavailable = HTTPStatus(rawValue: 503)
    /// 505: not in this version of HTTP.
    public static let httpVersionNotSupported = HTTPStatus(rawValue: 505)

    /// Whether a response with this status never has content (RFC 9110 §6.4.1).
    public var forbidsContent: Bool { rawValue < 200 || rawValue == 204 || rawValue == 304 }

    /// The words that follow the number in the status line; empty for unknown numbers.
    public var reasonPhrase: String { Self.phrases[rawValue] ?? "" }

    private static let phrases: [Int: String] = [
        100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 204: "No Content",
        301: "Moved Permanently", 302: "Found", 304: "Not Modified", 307: "Temporary Redirect",
        308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 411: "Length Required",
        412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
        417: "Expectation Failed", 421: "Misdirected Request", 426: "Upgrade Required", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
        503: "Service Unavailable", 505: "HTTP Version Not Supported",
    ]
}
