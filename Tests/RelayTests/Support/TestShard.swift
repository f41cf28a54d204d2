import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import STUN
import TURNServer
import Testing
import Transport

@testable import Relay

/// One shard with listeners on the loopback, moved along by the test itself: no thread, no sleep.
struct TestShard: ~Copyable {
    static let realm = "example.org"
    static let loopback = IPAddress.loopback(.ipv4)

    var shard: RelayShard
    let shared: TURNServerShared

    init(_ change: (inout RelayConfiguration) -> Void = { _ in }) throws {
        let configuration = try Self.configuration(change)
        let shared = TURNServerShared(configuration.server)
        let mailboxes = try (0..<2).map { _ in try ShardMailbox(limit: 8) }
        shard = try Self.open(configuration, shared, mailboxes)
        self.shared = shared
    }

    /// The second shard of the same server.
    init(sibling: borrowing TestShard) throws {
        shard = try Self.open(sibling.shard.configuration, sibling.shared, sibling.shard.shards)
        shared = sibling.shared
    }

    private static func open(
        _ configuration: RelayConfiguration,
        _ shared: TURNServerShared,
        _ mailboxes: [ShardMailbox]
    ) throws -> RelayShard {
        let now = WallClock.unixSeconds()
        let engine = try TURNServerEngine(configuration.server, shared: shared, unixSeconds: now)
        let number = engine.shard
        let poller = try Poller()
        var shard = RelayShard(
            configuration,
            engine: engine,
            poller: poller,
            mailbox: mailboxes[number],
            shards: mailboxes,
            report: RelayReport(),
            logger: .silent
        )
        try shard.open()
        return shard
    }

    static func configuration(_ change: (inout RelayConfiguration) -> Void) throws -> RelayConfiguration {
        let relay = RelayAddress(local: loopback)
        let user = try LongTermCredentials(username: "alice", realm: realm, password: "secret")
        var server = TURNServerConfiguration(
            credentials: TURNServerCredentials(realm: realm, users: [user]),
            relayAddresses: [relay],
            gate: PeerAddressGate(
                allow: [try #require(IPPrefix(loopback, length: 32))],
                relayAddresses: [relay],
                serverAddresses: [loopback]
            )
        )
        server.limits.limitedPrefixes = 64
        let any = SocketAddress(loopback, port: 0)
        var configuration = RelayConfiguration(server: server, listeners: [.init(.udp, any), .init(.tcp, any)])
        BackEnd.apply(to: &configuration)
        change(&configuration)
        try configuration.makePortLookup()
        return configuration
    }

    /// Lets clients of TLS in as well.
    static func addTLS(to configuration: inout RelayConfiguration) {
        do {
            let identity = try Identity.selfSigned(
                commonName: "localhost",
                dnsNames: ["localhost"],
                validForDays: 2,
                notBefore: Int64(WallClock.unixSeconds()) - 3600
            )
            configuration.tls = TLSContextHolder(try TLSContext(serverIdentities: [identity]))
            configuration.listeners.append(.init(.tls, SocketAddress(loopback, port: 0)))
        } catch {
            Issue.record("no identity: \(error)")
        }
    }

    /// Where clients of a transport connect to.
    func address(_ transport: TransportProtocol) throws -> SocketAddress {
        if transport == .udp { return try #require(shard.udpRoutes.first?.localAddress) }
        for handle in shard.streamListeners.handles {
            let address = shard.streamListeners.read(handle) {
                $0.transport == transport ? $0.socket.localAddress : nil
            }
            if let address = address ?? nil { return address }
        }
        throw SocketError(.listen(transport), at: nil, number: 0)
    }

    /// Lets the shard work until `isDone`, which may look at clients as well; ten seconds mean that it never will be.
    mutating func work(until isDone: (borrowing RelayShard) throws -> Bool) throws {
        let deadline = MonotonicClock.now() + .seconds(10)
        while try !isDone(shard) {
            try #require(MonotonicClock.now() < deadline, "it did not come to that within ten seconds")
            _ = try shard.turn(until: MonotonicClock.now() + .milliseconds(2))
        }
    }
}
