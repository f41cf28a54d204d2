import Bytes
import HTTP
import NetTypes
import Signaling
import Testing

@testable import WebService

/// A router, and requests as they come out of the parser.
struct RouterFixture {
    static let unixSeconds: UInt64 = 1_700_000_000
    static let remote = IPAddress(ipv4: 0xC000_0209)
    static let loopback = IPAddress.loopback(.ipv4)

    var router: WebRouter

    init(secret: String? = "a secret of the server", _ change: (inout WebPolicy) -> Void = { _ in }) {
        var policy = WebPolicy(minter: ICEServersMinter(secret: secret, ttlSeconds: 3600))
        change(&policy)
        router = WebRouter(policy: policy, assets: PageAssets())
    }

    static func request(_ line: String, _ fields: [String] = []) throws -> HTTPRequest {
        var connection = HTTPServerConnection(wallClock: .init(unixSeconds: unixSeconds, at: .zero), at: .zero)
        let text = ([line + " HTTP/1.1"] + fields + ["", ""]).joined(separator: "\r\n")
        connection.receive(Array(text.utf8).span, at: .zero)
        let event = connection.pollEvent()
        guard case .request(let request) = event else {
            throw HTTPDropReason.malformedRequestLine
        }
        return request
    }

    func route(
        _ line: String,
        host: String = "localhost:8080",
        _ fields: [String] = [],
        from remote: IPAddress = Self.loopback,
        isTLS: Bool = false
    ) throws -> RouteAction {
        router.route(
            try Self.request(line, ["Host: \(host)"] + fields),
            from: RequestOrigin(remote: remote, isTLS: isTLS),
            unixSeconds: Self.unixSeconds,
            metrics: { "the metrics\n" }
        )
    }

    /// The response, where one is expected.
    func response(
        _ line: String,
        host: String = "localhost:8080",
        _ fields: [String] = [],
        from remote: IPAddress = Self.loopback,
        isTLS: Bool = false
    ) throws -> HTTPResponse {
        let action = try route(line, host: host, fields, from: remote, isTLS: isTLS)
        guard case .respond(let response) = action else { throw WebSocketOpened() }
        return response
    }

    struct WebSocketOpened: Error {}
}

extension HTTPResponse {
    var text: String { String(decoding: body, as: UTF8.self) }
}
