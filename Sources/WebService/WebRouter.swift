import Crypto
public import HTTP
public import NetTypes
public import Signaling
import SignalingMessages

/// What the HTTP side of the server may do and for whom.
public struct WebPolicy: Sendable {
    /// Other origins that may open a signaling connection, besides the server's own.
    public var origins: [HTTPOrigin] = []
    /// Who may read the metrics, besides loopback.
    public var metricsFrom: [IPPrefix] = []
    /// SHA-256 digests of the keys for `/turn`, in hexadecimal.
    public var apiKeyDigests: Set<String> = []
    /// Mints ephemeral TURN credentials.
    public var minter: ICEServersMinter
    /// Whether browsers may be told to insist on HTTPS: only with a certificate that they trust.
    public var insistsOnHTTPS = false

    /// Makes a policy that lets nobody in but the page.
    public init(minter: ICEServersMinter) { self.minter = minter }
}

/// Where a request came in.
struct RequestOrigin {
    let remote: IPAddress
    let isTLS: Bool
}

/// What to do with a request.
enum RouteAction {
    case respond(HTTPResponse)
    /// Switch to the signaling protocol; `host` is the host that the page was reached by.
    case openSignaling(host: String?)
}

/// Decides what each request gets: a value, so that every route can be tested without a socket.
struct WebRouter {
    static let signalingPath = "/signal"
    /// What proxies say about those whom they speak for (RFC 7239, RFC 9110 §7.6.3, and what came before).
    private static let proxyFields = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"]

    var policy: WebPolicy
    let assets: PageAssets
    /// Whether the server is to end, and nobody new should come.
    var isDraining = false

    func route(
        _ request: HTTPRequest,
        from origin: RequestOrigin,
        unixSeconds: UInt64,
        metrics: () -> String
    ) -> RouteAction {
        let own = Self.ownOrigin(request, isTLS: origin.isTLS)
        // A page of a stranger whose name leads to loopback (DNS rebinding) must not pass for the page of this machine.
        if !origin.isTLS, !Self.isLoopback(own?.host) {
            return .respond(finish(.init(.misdirectedRequest, text: "Plain HTTP is only served as localhost.\n"), own))
        }
        if request.target.path == Self.signalingPath { return signaling(request, own) }
        guard request.method == .get || request.method == .head else {
            var response = HTTPResponse(.methodNotAllowed, text: "Only GET and HEAD are served here.\n")
            response.headers["Allow"] = "GET, HEAD"
            return .respond(finish(response, own))
        }
        let response: HTTPResponse
        switch request.target.path {
        case "/healthz":
            response = isDraining ? .init(.serviceUnavailable, text: "draining\n") : .init(.ok, text: "ok\n")
        case "/metrics": response = metricsPage(request, origin, metrics)
        case "/turn": response = credentials(request, own, unixSeconds)
        default:
            response =
                Self.withoutJoining(request) ?? assets.response(to: request)
                ?? .init(.notFound, text: "There is nothing here.\n")
        }
        return .respond(finish(response, own))
    }

    private func signaling(_ request: HTTPRequest, _ own: HTTPOrigin?) -> RouteAction {
        // Browsers name the origin of the page that opens a WebSocket; other programs need not.
        for text in request.headers.values("Origin") {
            guard let origin = HTTPOrigin(text), origin == own || policy.origins.contains(origin) else {
                return .respond(
                    finish(.init(.forbidden, text: "This origin may not use the signaling; see --origin.\n"), own)
                )
            }
        }
        return .openSignaling(host: own?.host)
    }

    /// The page may be told to enter a room at once, camera and microphone on; another site's link may not say so.
    ///
    /// Such a request is led to the same page without that: the person then presses the button, or does not.
    private static func withoutJoining(_ request: HTTPRequest) -> HTTPResponse? {
        guard request.target.path == "/", request.target.queryItems.contains(where: { $0.name == "join" }),
            let site = request.headers["Sec-Fetch-Site"], site != "none", site != "same-origin"
        else { return nil }
        let rest = (request.target.query ?? "").split(separator: "&").filter { pair in
            PercentEncoding.decode(pair.prefix { $0 != "=" }, plusIsSpace: true) != "join"
        }
        let location = rest.isEmpty ? "/" : "/?" + rest.joined(separator: "&")
        return .init(.found, headers: ["Location": location, "Cache-Control": "no-store"])
    }

    private func metricsPage(
        _ request: HTTPRequest,
        _ origin: RequestOrigin,
        _ metrics: () -> String
    ) -> HTTPResponse {
        // A proxy on this machine speaks for everybody.
        let isLocal = origin.remote.isLoopback && !Self.proxyFields.contains { request.headers[$0] != nil }
        guard isLocal || policy.metricsFrom.contains(where: { $0.contains(origin.remote) }) else {
            return .init(.forbidden, text: "Metrics are for loopback and for addresses that --metrics-from names.\n")
        }
        return .init(
            .ok,
            headers: ["Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store"],
            body: Array(metrics().utf8)
        )
    }

    /// The TURN REST draft's answer (draft-uberti-behave-turn-rest-00 §2).
    private func credentials(_ request: HTTPRequest, _ own: HTTPOrigin?, _ unixSeconds: UInt64) -> HTTPResponse {
        let bearer = request.headers["Authorization"].flatMap { value in
            value.lowercased().hasPrefix("bearer ") ? String(value.dropFirst(7)) : nil
        }
        let key = bearer ?? request.target.queryValue("key") ?? request.target.queryValue("api") ?? ""
        // Digests are compared by look-up: what the time tells about a digest is of no use against its key.
        guard policy.apiKeyDigests.contains(APIKey.digest(key)) else {
            return .init(
                .unauthorized,
                headers: ["WWW-Authenticate": "Bearer", "Content-Type": "text/plain"],
                body: Array("A valid key is needed: /turn?service=turn&key=KEY, one that --api-key names.\n".utf8)
            )
        }
        if let service = request.target.queryValue("service"), service != "turn" {
            return .init(.badRequest, text: "The only service here is 'turn'.\n")
        }
        let user = request.target.queryValue("username") ?? ""
        guard user.utf8.count <= 128, user.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
            return .init(.badRequest, text: "'username' takes at most 128 bytes without control characters.\n")
        }
        guard
            let json = RESTCredentialsAnswer.json(
                policy.minter,
                userID: user,
                host: own?.host,
                unixSeconds: unixSeconds
            )
        else {
            return .init(.serviceUnavailable, text: "This host name cannot be handed out; set --public-host.\n")
        }
        return .init(.ok, headers: ["Content-Type": "application/json", "Cache-Control": "no-store"], body: json)
    }

    /// Adds what every response carries to one that was made elsewhere.
    func finish(_ response: HTTPResponse, to request: HTTPRequest, isTLS: Bool) -> HTTPResponse {
        finish(response, Self.ownOrigin(request, isTLS: isTLS))
    }

    private static func ownOrigin(_ request: HTTPRequest, isTLS: Bool) -> HTTPOrigin? {
        request.authority.flatMap { HTTPOrigin(scheme: isTLS ? "https" : "http", authority: $0) }
    }

    private func finish(_ response: HTTPResponse, _ own: HTTPOrigin?) -> HTTPResponse {
        var response = response
        // A Host may hold marks that mean something to this field; only what is a host gets in.
        let named = own.flatMap { own in WebHost(own.host).map { "\($0):\(own.port)" } }
        let sockets = named.map { " ws://\($0) wss://\($0)" } ?? ""
        response.headers["Content-Security-Policy"] =
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
            + "media-src 'self' blob: mediastream:; connect-src 'self'\(sockets); font-src 'self'; manifest-src 'self'; "
            + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Permissions-Policy"] = "camera=(self), microphone=(self), display-capture=(self)"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if policy.insistsOnHTTPS { response.headers["Strict-Transport-Security"] = "max-age=31536000" }
        return response
    }

    private static func isLoopback(_ host: String?) -> Bool {
        guard let host else { return false }
        let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        return host == "localhost" || host == "localhost." || IPAddress(bare)?.isLoopback == true
    }
}
