import Bytes
import NetTypes
import STUN
import Testing

@Suite struct NonceTests {
    private static let secret = Array("a secret of sixteen bytes or more".utf8)
    private static let client = SocketAddress("192.0.2.7:50000") ?? SocketAddress(.loopback(.ipv4), port: 1)
    private static let now: UInt64 = 1_800_000_000

    private func factory(
        _ secret: [UInt8] = NonceTests.secret,
        previous: [UInt8]? = nil,
        features: SecurityFeatures = [.passwordAlgorithms, .usernameAnonymity]
    ) throws -> NonceFactory {
        try NonceFactory(secret: secret, previousSecret: previous, features: features)
    }

    @Test(
        arguments: [
            ([], "AAAA"), ([.passwordAlgorithms], "gAAA"), ([.usernameAnonymity], "QAAA"),
            ([.passwordAlgorithms, .usernameAnonymity], "wAAA"),
        ] as [(SecurityFeatures, String)]
    )
    func `turn 56: a nonce begins with the cookie and the features`(_ features: SecurityFeatures, _ text: String) throws
    {
        let nonce = try factory(features: features).nonce(for: Self.client, atUnixSeconds: Self.now)
        #expect(String(decoding: nonce[..<13], as: UTF8.self) == "obMatJos2" + text)
        #expect(SecurityFeatures(nonce: nonce.span) == features)
        #expect(nonce.count == NonceFactory.nonceByteCount)
    }

    @Test func `turn 47: a nonce has characters of base 64 only`() throws {
        let factory = try factory()
        for port in 0..<UInt16(300) {
            let nonce = factory.nonce(for: SocketAddress(.loopback(.ipv6), port: port), atUnixSeconds: Self.now)
            let text = String(decoding: nonce, as: UTF8.self)
            #expect(text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "+" || $0 == "/") })
        }
    }

    @Test(arguments: [
        "", "obMatJos2", "obMatJos2AAA", "obMatJos3AAAA", "obmatJos2AAAA", "obMatJos2AA=A", "f//499k954d6OL34",
    ])
    func `a nonce without the cookie announces no features`(_ nonce: String) {
        #expect(SecurityFeatures(nonce: Array(nonce.utf8).span) == nil)
    }

    @Test func `the nonce of RFC 8489 Appendix B announces the bit that its text assigns to no feature`() {
        // Its features are the bytes 0, 0 and 2, that is bit 22, where §18.1 gives bit 1 from the left to anonymity.
        let nonce = Array("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA".utf8)
        #expect(SecurityFeatures(nonce: nonce.span) == SecurityFeatures(rawValue: 2))
    }

    @Test func `turn 58: no two clients get the same nonce, and each only may use its own`() throws {
        let factory = try factory()
        var clients: [SocketAddress] = []
        for host in 0..<UInt32(10) {
            for port in 0..<UInt16(10) {
                clients.append(SocketAddress(IPAddress(ipv4: 0xC000_0200 + host), port: port))
                clients.append(SocketAddress(IPAddress(ipv6: 0x2001_0DB8 << 32, UInt64(host)), port: port))
                clients.append(SocketAddress(IPAddress(ipv6: 0, 0xC000_0200 + UInt64(host)), port: port))
            }
        }
        let nonces = clients.map { factory.nonce(for: $0, atUnixSeconds: Self.now) }
        #expect(Set(nonces).count == clients.count)
        for (index, nonce) in nonces.enumerated() {
            for (other, client) in clients.enumerated() where other == index || other % 17 == 0 {
                let check = factory.check(nonce.span, from: client, atUnixSeconds: Self.now)
                #expect(check == (other == index ? .valid : .stale))
            }
        }
    }

    @Test func `an IPv4 client is the same on a dual-stack socket`() throws {
        let factory = try factory()
        let mapped = SocketAddress(IPAddress(ipv6: 0, 0xFFFF << 32 | Self.client.ip.low), port: Self.client.port)
        let nonce = factory.nonce(for: mapped, atUnixSeconds: Self.now)
        #expect(factory.check(nonce.span, from: Self.client, atUnixSeconds: Self.now) == .valid)
    }

    @Test(
        arguments: [
            (0, true), (1, true), (3599, true), (3600, false), (86_400, false), (-30, true), (-31, false),
        ] as [(Int64, Bool)]
    )
    func `turn 92: a nonce lasts an hour`(_ later: Int64, _ isValid: Bool) throws {
        let factory = try factory()
        let nonce = factory.nonce(for: Self.client, atUnixSeconds: Self.now)
        let check = factory.check(nonce.span, from: Self.client, atUnixSeconds: UInt64(Int64(Self.now) + later))
        #expect(check == (isValid ? .valid : .stale))
    }

    @Test(arguments: [0, 1, 1 << 36, UInt64.max] as [UInt64])
    func `a clock that is far off makes nonces stale, nothing worse`(_ now: UInt64) throws {
        let factory = try factory()
        let nonce = factory.nonce(for: Self.client, atUnixSeconds: Self.now)
        #expect(factory.check(nonce.span, from: Self.client, atUnixSeconds: now) == .stale)
        let own = factory.nonce(for: Self.client, atUnixSeconds: now)
        #expect(own.count == NonceFactory.nonceByteCount)
        #expect(factory.check(own.span, from: Self.client, atUnixSeconds: now) == (now < 1 << 36 ? .valid : .stale))
    }

    @Test func `turn 69: a nonce that was altered in any bit is stale, its features too`() throws {
        let factory = try factory()
        let nonce = factory.nonce(for: Self.client, atUnixSeconds: Self.now)
        for bit in 0..<8 * nonce.count {
            var altered = nonce
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(factory.check(altered.span, from: Self.client, atUnixSeconds: Self.now) == .stale)
        }
    }

    @Test func `turn 69: a nonce with fewer features fails even where the server has them switched off`() throws {
        let rich = try factory()
        let poor = try factory(features: [])
        var nonce = rich.nonce(for: Self.client, atUnixSeconds: Self.now)
        nonce.replaceSubrange(9..<13, with: Array("AAAA".utf8))
        #expect(poor.check(nonce.span, from: Self.client, atUnixSeconds: Self.now) == .stale)
    }

    @Test func `turn 69: noise is stale`() throws {
        let factory = try factory()
        var entropy = Entropy.seeded(1)
        for count in 0..<80 {
            #expect(factory.check(entropy.bytes(count).span, from: Self.client, atUnixSeconds: Self.now) == .stale)
        }
    }

    @Test func `servers that share a secret accept each other's nonces, also while it is being changed`() throws {
        let new = Array("the next secret of this fleet".utf8)
        let (old, between, after) = (try factory(), try factory(new, previous: Self.secret), try factory(new))
        let nonce = old.nonce(for: Self.client, atUnixSeconds: Self.now)
        #expect(try factory().check(nonce.span, from: Self.client, atUnixSeconds: Self.now) == .valid)
        #expect(between.check(nonce.span, from: Self.client, atUnixSeconds: Self.now) == .valid)
        #expect(after.check(nonce.span, from: Self.client, atUnixSeconds: Self.now) == .stale)
        let fresh = between.nonce(for: Self.client, atUnixSeconds: Self.now)
        #expect(after.check(fresh.span, from: Self.client, atUnixSeconds: Self.now) == .valid)
    }

    @Test func `a short secret is refused`() {
        #expect(throws: CredentialError.tooShort(.secret, byteCount: 15, minimum: 16)) {
            _ = try NonceFactory(secret: [UInt8](repeating: 1, count: 15), features: [])
        }
        #expect(throws: CredentialError.tooShort(.secret, byteCount: 0, minimum: 16)) {
            _ = try NonceFactory(secret: Self.secret, previousSecret: [], features: [])
        }
    }

    @Test func `a nonce goes into a message and out of it`() throws {
        let factory = try factory()
        let bytes = try buildBytes(capacity: 100) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.allocate, .error, Messages.id, into: &output)
            builder.append(nonceFor: Self.client, from: factory, atUnixSeconds: Self.now, into: &output)
            _ = try builder.finish(into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        guard let nonce = try view.nonce() else { throw STUNError.malformedAttribute(.nonce) }
        let check = factory.check(nonce, from: Self.client, atUnixSeconds: Self.now)
        #expect(check == .valid)
    }
}
