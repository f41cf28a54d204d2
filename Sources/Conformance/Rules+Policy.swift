import EventLoop
import NetTypes
import STUN
import TURN

/// Which peers a server refuses, temporary credentials, and what takes minutes (RFC 8656 §21, §9, §12).
extension RuleTable {
    mutating func addGate() {
        for text in Self.refusedPeers {
            guard let ip = IPAddress(text) else { continue }
            add(
                157,
                "\(text) is refused as a peer by CreatePermission and ChannelBind",
                "RFC 8656 §21",
                .ours,
                on: [.udp],
                due: "403"
            ) { probe throws(Finding) in
                // Where the test's own peers are on the loopback, the operator has opened it for them.
                let isOpened = probe.target.peerAddresses.contains { $0 == ip || $0.isLoopback && ip.isLoopback }
                try probe.require(!isOpened, "the peers of this test have such addresses")
                let client = try probe.client()
                try Self.allocateFamily(client, ip.family)
                let peer = SocketAddress(ip, port: 53)
                try probe.expect(client.request(.createPermission, [.peer(peer)]), error: 403)
                try probe.expect(client.request(.channelBind, [.channel(0x4001), .peer(peer)]), error: 403)
            }
        }
        for (name, high) in [("Teredo", 0x2001_0000_0808_0808), ("6to4", 0x2002_0808_0808_0000)] as [(String, UInt64)] {
            let peer = SocketAddress(IPAddress(ipv6: high, 1), port: 53)
            refuseTunnel("ChannelBind to a \(name) address is refused", .must, .channelBind) {
                [.channel(0x4001), .peer(peer)]
            }
            refuseTunnel("CreatePermission for a \(name) address is refused", .should, .createPermission) {
                [.peer(peer)]
            }
        }
    }

    private mutating func refuseTunnel(
        _ title: String,
        _ level: RuleLevel,
        _ method: STUNMethod,
        _ attributes: @escaping @Sendable () -> [RawAttribute]
    ) {
        add(154, title, "RFC 8656 §21.4", level, on: [.udp], due: "an error") { probe throws(Finding) in
            let client = try probe.client()
            try Self.allocateFamily(client, .ipv6)
            let reply = try client.request(method, attributes())
            try probe.expect(reply.messageClass == .error, "\(reply.name) came")
        }
    }

    private static let refusedPeers = [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.0.2.1",
        "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1", "100::1", "fc00::1", "fd00::1", "fe80::1",
        "fec0::1", "ff02::1",
    ]

    private static func allocateFamily(_ client: Client, _ family: AddressFamily) throws(Finding) {
        let wanted = RawAttribute.family(family == .ipv4 ? 1 : 2)
        let reply = try client.request(.allocate, [.requestedTransport(), wanted])
        try client.probe.require(reply.errorCode != 440, "the server relays no \(family == .ipv4 ? "IPv4" : "IPv6")")
        guard reply.messageClass == .success else { throw .blocked("no allocation: \(reply.name) came") }
    }

    mutating func addTemporaryCredentials() {
        temporary(206, "credentials whose time has passed get no allocation") { now in "\(now - 3600):conform" }
        temporary(207, "credentials that end in a thousand years get no allocation") { _ in "33000000000:conform" }
        temporary(208, "a user name without a time gets no allocation") { _ in "conform" }
        temporary(208, "a user name with a word for a time gets no allocation") { _ in "tomorrow:conform" }
        temporary(208, "a user name with a negative time gets no allocation") { _ in "-1:conform" }
        temporary(208, "a user name with a time beyond all integers gets no allocation") { _ in
            "99999999999999999999999999:conform"
        }
    }

    private mutating func temporary(_ number: Int, _ title: String, _ name: @escaping @Sendable (UInt64) -> String) {
        add(number, title, "draft-uberti-behave-turn-rest-00 §2.2", .ours, due: "401") { probe throws(Finding) in
            guard let secret = probe.target.secret.flatMap({ try? RESTSecret(Array($0.utf8)) }) else {
                throw .notApplicable("it needs --secret")
            }
            let username = name(WallClock.unixSeconds())
            let password = secret.password(for: username.utf8.span)
            let client = try probe.client()
            let login = try client.logIn(as: ConformanceAccount(username: username, password: password))
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 401)
        }
    }

    mutating func addExpiry() {
        add(
            98,
            "an allocation ends when its lifetime does, whatever is relayed meanwhile",
            "RFC 8656 §6",
            on: [.udp],
            due: "437 to a Refresh afterwards",
            isSlow: true
        ) { probe throws(Finding) in
            let client = try probe.client()
            let allocation = try client.allocate()
            let peer = try probe.peer()
            try client.permit(peer)
            Self.pass(UInt64(allocation.lifetime) + 5, client) {
                client.sendIndication([.peer(peer.address), .data([1])])
            }
            try probe.expect(client.request(.refresh), error: 437)
        }
        add(
            119,
            "a permission ends after five minutes, whatever is relayed meanwhile",
            "RFC 8656 §9",
            on: [.udp],
            due: "nothing from the peer afterwards",
            isSlow: true
        ) { probe throws(Finding) in
            let (client, relayed, peer) = try Self.permitted(probe)
            let other = try probe.peer(at: 1)
            Self.pass(305, client) { client.sendIndication([.peer(peer.address), .data([1])]) }
            peer.send([1], to: relayed)
            try Self.expectNothing(at: client)
            try client.permit(other)
            try Self.expectOnly([2], from: other, at: client, relayed)
        }
        add(
            137,
            "a channel ends after ten minutes, whatever is relayed meanwhile",
            "RFC 8656 §12",
            on: [.udp],
            due: "a Data indication instead of ChannelData afterwards",
            isSlow: true
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate([.lifetime(1200)]).relayed
            let peer = try probe.peer()
            try client.bind(0x4030, to: peer)
            try client.expectLifetimeOf(1200)
            Self.pass(605, client) { peer.send([1], to: relayed) }
            try client.permit(peer)
            try Self.expectOnly([2], from: peer, at: client, relayed)
        }
    }

    /// Lets seconds go by, with `body` every twenty of them; what is relayed to the client meanwhile is forgotten.
    private static func pass(_ seconds: UInt64, _ client: Client, _ body: () -> Void) {
        let end = MonotonicClock.now() + .seconds(seconds)
        while MonotonicClock.now() < end {
            body()
            let pause = min(end, MonotonicClock.now() + .seconds(20))
            while MonotonicClock.now() < pause { _ = client.wire.receive(until: pause) }
        }
    }
}

extension Client {
    /// Asks for a lifetime, without which a slow rule would end before its time.
    func expectLifetimeOf(_ seconds: UInt32) throws(Finding) {
        try probe.setUp("no lifetime of \(seconds) s") { () throws(Finding) in
            let reply = try request(.refresh, [.lifetime(seconds)])
            guard let lifetime = reply.lifetime, lifetime >= seconds else { throw .failed("\(reply.name) came") }
        }
    }
}
