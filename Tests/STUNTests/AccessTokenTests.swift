import Bytes
import NetTypes
import STUN
import Testing

@Suite struct AccessTokenTests {
    /// RFC 7635 Appendix A.
    private enum Sample {
        static let serverName = "blackdow.carleon.gov"
        static let key = Array("HGkj32KJGiuy098sdfaqbNjOiaz71923".utf8)
        static let macKey = Array("ZksjpweoixXmvn67534m".utf8)
        static let timestamp: UInt64 = 92_470_300_704_768
        static let nonce = Array("h4j3k2l2n4b5".utf8)
        static let sealed256 = Hex.decode(
            "000c68346a336b326c326e346235617ef134a3d5e44e9a19cc7dc104b0c03d03b2a551d8fdf5cd3b6dca6f10cfb77e5b2ddec84d293a5c"
                + "50499359f0c2e26f76"
        )
        static let sealed128 = Hex.decode(
            "000c68346a336b326c326e3462357fb9e99f0827be3df1e1bd651493d3031d36df57079784aee5eacb65fad4f27fab1a3f97974b69f851"
                + "b24bf5af09eda357e0"
        )
    }

    private let token: AccessToken

    init() throws {
        token = try #require(
            AccessToken(macKey: Sample.macKey, timestamp: Sample.timestamp, lifetimeSeconds: 3600)
        )
    }

    private func key(_ algorithm: AccessTokenKey.Algorithm = .a256gcm) throws -> AccessTokenKey {
        let key = Array(Sample.key.prefix(algorithm.keyByteCount))
        return try AccessTokenKey(id: "kid", key: key, algorithm: algorithm)
    }

    @Test(arguments: AccessTokenKey.Algorithm.allCases)
    func `turn 186: the samples of RFC 7635 Appendix A, both ways`(_ algorithm: AccessTokenKey.Algorithm) throws {
        let expected = try #require(algorithm == .a256gcm ? Sample.sealed256 : Sample.sealed128)
        let key = try key(algorithm)
        #expect(key.seal(token, for: Sample.serverName, nonce: Sample.nonce) == expected)
        #expect(key.open(expected.span, for: Sample.serverName) == token)
    }

    @Test func `turn 186: a token is good for the server of that name only`() throws {
        let sealed = try #require(Sample.sealed256)
        #expect(try key().open(sealed.span, for: "blackdow.carleon.go") == nil)
        #expect(try key().open(sealed.span, for: "") == nil)
        let other = try AccessTokenKey(id: "kid", key: Array(Sample.key.reversed()))
        #expect(other.open(sealed.span, for: Sample.serverName) == nil)
    }

    @Test func `turn 187: every changed bit and every other length is found out`() throws {
        let sealed = try #require(Sample.sealed256)
        let key = try key()
        for bit in 0..<sealed.count * 8 {
            var forged = sealed
            forged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(key.open(forged.span, for: Sample.serverName) == nil)
        }
        for count in 0..<sealed.count {
            let cut = Array(sealed[..<count])
            #expect(key.open(cut.span, for: Sample.serverName) == nil)
        }
        let longer = sealed + [0]
        #expect(key.open(longer.span, for: Sample.serverName) == nil)
    }

    @Test func `turn 189: lengths that a token announces are not believed`() throws {
        for nonceLength in [0, 1, 11, 13, 60, 256, 65535] {
            let bytes = [UInt8(nonceLength >> 8), UInt8(nonceLength & 255)] + [UInt8](repeating: 7, count: 62)
            #expect(try key().open(bytes.span, for: Sample.serverName) == nil)
        }
        #expect(AccessToken(macKey: [UInt8](repeating: 1, count: 19), timestamp: 0, lifetimeSeconds: 1) == nil)
        #expect(AccessToken(macKey: [UInt8](repeating: 1, count: 65), timestamp: 0, lifetimeSeconds: 1) == nil)
        for count in [20, 32, 64] {
            let macKey = [UInt8](repeating: 9, count: count)
            let token = try #require(AccessToken(macKey: macKey, timestamp: 1, lifetimeSeconds: 2))
            let sealed = try #require(try key().seal(token, for: "a", nonce: Sample.nonce))
            #expect(try key().open(sealed.span, for: "a") == token)
        }
    }

    private static let ages: [(lifetime: UInt32, remaining: UInt32, age: Int64)] = [
        (3600, 3600, 0), (3600, 3600, 5), (3600, 3599, 6), (3600, 5, 3600), (3600, 1, 3604), (3600, 0, 3605),
        (3600, 0, 4000), (3600, 3600, -5), (3600, 3595, -10), (3600, 1, -3604), (3600, 0, -3605), (0, 0, 5), (1, 0, 6),
        (UInt32.max, UInt32.max, 1),
    ]

    @Test(arguments: ages)
    func `turn 187, 188: lifetime + 5 s bounds the distance of the clocks and what is left`(
        _ lifetime: UInt32,
        _ remaining: UInt32,
        _ age: Int64
    ) throws {
        let made: UInt64 = 1_700_000_000
        let token = try #require(
            AccessToken(macKey: Sample.macKey, madeAtUnixSeconds: made, lifetimeSeconds: lifetime)
        )
        #expect(token.remainingSeconds(atUnixSeconds: UInt64(Int64(made) + age)) == remaining)
    }

    @Test func `Clocks at the ends of time do no harm`() throws {
        for timestamp in [0, UInt64.max] {
            let token = try #require(
                AccessToken(macKey: Sample.macKey, timestamp: timestamp, lifetimeSeconds: .max)
            )
            _ = token.remainingSeconds(atUnixSeconds: 0)
            _ = token.remainingSeconds(atUnixSeconds: .max)
        }
    }

    @Test func `A key has a name, the right length and, if it says so, an end`() throws {
        #expect(throws: CredentialError.self) { try AccessTokenKey(id: "", key: Sample.key) }
        #expect(throws: CredentialError.self) { try AccessTokenKey(id: "a", key: Array(Sample.key.dropLast())) }
        #expect(throws: CredentialError.self) {
            try AccessTokenKey(id: "a", key: Sample.key, algorithm: .a128gcm)
        }
        let key = try AccessTokenKey(id: "a", key: Sample.key, expiryUnixSeconds: 100)
        #expect(key.isValid(atUnixSeconds: 99) && !key.isValid(atUnixSeconds: 100))
        #expect(try self.key().isValid(atUnixSeconds: .max))
    }

    @Test func `No dump shows a key`() throws {
        var text = ""
        dump(token, to: &text)
        dump(try key(), to: &text)
        dump(try AccessGrant(keyID: "a", token: [1], macKey: Sample.macKey), to: &text)
        #expect(!text.contains("90") && !text.contains("107"), "\(text)")
        #expect(!"\(token)".contains("90"))
    }
}
