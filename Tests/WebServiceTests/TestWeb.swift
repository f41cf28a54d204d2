import Bytes
import Crypto
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import ServiceTestSupport
import Signaling
import SignalingMessages
import Store
import Testing
import WebService
import WebSocket

/// A web service on loopback ports of its own, with a store in a folder of its own; ended with its test.
final class TestWeb {
    let folder: TemporaryFolder
    let identity: Identity
    private(set) var service: WebService
    let configuration: WebConfiguration

    init(_ change: (inout WebConfiguration) -> Void = { _ in }) throws {
        let folder = try TemporaryFolder()
        let identity = try Self.identity()
        self.folder = folder
        self.identity = identity
        (service, configuration) = try withFreePorts(2) { ports in
            var configuration = try Self.configuration(ports: ports, identity)
            change(&configuration)
            return (try Self.start(configuration, folder), configuration)
        }
    }

    deinit {
        service.stop()
        service.join()
    }

    private static func start(_ configuration: WebConfiguration, _ folder: TemporaryFolder) throws -> WebService {
        let store = try Database(path: folder.path + "/store.sqlite")
        return try WebService(configuration, store: store, logger: .silent) { page in
            page.add(.gauge, "floe_test_value", "Of the test.", 42)
        }
    }

    static func identity() throws -> Identity {
        try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
    }

    /// HTTP on the first port, HTTPS on the second, on both loopback addresses.
    static func configuration(ports: [UInt16], _ identity: Identity) throws -> WebConfiguration {
        let listeners = AddressFamily.allCases.flatMap { family -> [WebConfiguration.Listener] in
            [
                .init(SocketAddress(.loopback(family), port: ports[0]), isTLS: false),
                .init(SocketAddress(.loopback(family), port: ports[1]), isTLS: true),
            ]
        }
        let policy = WebPolicy(minter: ICEServersMinter(secret: "a secret of the server"))
        var configuration = WebConfiguration(listeners: listeners, policy: policy)
        configuration.tls = TLSContextHolder(
            try TLSContext(serverIdentities: [identity], applicationProtocols: ["http/1.1", "stun.turn"])
        )
        return configuration
    }

    /// Ends the service and starts another one with the same store at the same addresses.
    func restart() throws {
        service.stop()
        service.join()
        service = try Self.start(configuration, folder)
    }

    func address(isTLS: Bool, _ family: AddressFamily = .ipv4) throws -> SocketAddress {
        try #require(configuration.listeners.first { $0.isTLS == isTLS && $0.address.family == family }).address
    }

    /// The Host field of a client of this machine.
    func authority(isTLS: Bool) throws -> String { "localhost:\(try address(isTLS: isTLS).port)" }

    func stream(
        isTLS: Bool = false,
        _ family: AddressFamily = .ipv4,
        trusting identity: Identity? = nil
    ) throws -> StreamClient {
        let pem = (identity ?? self.identity).certificatePEM
        let tls = try TLSContext(clientTrust: .roots(pem: pem), applicationProtocols: ["http/1.1"])
        return try StreamClient(to: address(isTLS: isTLS, family), tls: isTLS ? tls : nil)
    }

    func http(isTLS: Bool = false, _ family: AddressFamily = .ipv4) throws -> WebClient {
        WebClient(try stream(isTLS: isTLS, family), authority: try authority(isTLS: isTLS))
    }

    func signaling(isTLS: Bool = false, origin: String? = nil) throws -> SignalingClient {
        try SignalingClient(stream(isTLS: isTLS), authority: authority(isTLS: isTLS), origin: origin)
    }
}

/// A client that asks for one thing after the other on one connection.
final class WebClient {
    let stream: StreamClient
    private let authority: String
    private var unread: [UInt8] = []

    init(_ stream: StreamClient, authority: String) {
        self.stream = stream
        self.authority = authority
    }

    func send(_ line: String, _ fields: [String] = []) throws {
        try stream.send(Array(([line, "Host: \(authority)"] + fields + ["", ""]).joined(separator: "\r\n").utf8))
    }

    func receive(toHead isHead: Bool = false) throws -> HTTPResponseParser.Response {
        var parser = HTTPResponseParser(limits: Self.limits, toHead: isHead)
        let begun = unread
        var response = try parser.receive(begun.span)
        while response == nil {
            guard let bytes = try stream.receive() else { throw ClientError.ended }
            response = try parser.receive(bytes.span)
        }
        unread = parser.takeRemainingBytes()
        return try #require(response)
    }

    func get(_ target: String, _ fields: [String] = []) throws -> HTTPResponseParser.Response {
        try send("GET \(target) HTTP/1.1", fields)
        return try receive()
    }

    private static var limits: HTTPLimits {
        var limits = HTTPLimits()
        limits.bodyBytes = 1 << 20
        return limits
    }
}

extension HTTPResponseParser.Response {
    var text: String { String(decoding: body, as: UTF8.self) }
}
