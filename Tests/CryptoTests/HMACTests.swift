import Bytes
import Crypto
import NetTypes
import TestSupport
import Testing

@Suite struct HMACTests {
    struct Vector: Sendable {
        let key: [UInt8]
        let data: [UInt8]
        let sha1: String?
        let sha256: String?

        init(_ key: [UInt8], _ data: [UInt8], sha1: String? = nil, sha256: String? = nil) {
            (self.key, self.data, self.sha1, self.sha256) = (key, data, sha1, sha256)
        }
    }

    static let vectors = [
        Vector(
            bytes(0x0b, 20),
            text("Hi There"),
            sha1: "b617318655057264e28bc0b6fb378c8ef146be00",
            sha256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        Vector(
            text("Jefe"),
            text("what do ya want for nothing?"),
            sha1: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            sha256: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        Vector(
            bytes(0xaa, 20),
            bytes(0xdd, 50),
            sha1: "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
            sha256: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        ),
        Vector(
            Array(1...25),
            bytes(0xcd, 50),
            sha1: "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
            sha256: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        ),
        Vector(
            bytes(0x0c, 20),
            text("Test With Truncation"),
            sha1: "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
            sha256: "a3b6167473100ee06e0c796c2955552bfa6f7c0a6a8aef8b93f860aab0cd20c5"
        ),
        Vector(
            bytes(0xaa, 80),
            text("Test Using Larger Than Block-Size Key - Hash Key First"),
            sha1: "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        ),
        Vector(
            bytes(0xaa, 80),
            text("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"),
            sha1: "e8e99d0f45237d786d6bbaa7965c7808bbff1a91"
        ),
        Vector(
            bytes(0xaa, 131),
            text("Test Using Larger Than Block-Size Key - Hash Key First"),
            sha256: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
        Vector(
            bytes(0xaa, 131),
            text(
                "This is a test using a larger than block-size key and a larger than block-size data. "
                    + "The key needs to be hashed before being used by the HMAC algorithm."
            ),
            sha256: "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        ),
    ]

    @Test(arguments: vectors)
    func `The codes are those of RFC 2202 and RFC 4231`(vector: Vector) {
        if let code = vector.sha1 {
            #expect(Hex.encode(HMACKey(.sha1, key: vector.key).authenticationCode(for: vector.data)) == code)
        }
        if let code = vector.sha256 {
            #expect(Hex.encode(HMACKey(.sha256, key: vector.key).authenticationCode(for: vector.data)) == code)
        }
    }

    @Test(arguments: HashAlgorithm.allCases)
    func `A message in parts has the code of the whole`(hash: HashAlgorithm) {
        for seed in seeds(200) {
            var entropy = Entropy.seeded(seed)
            let key = HMACKey(hash, key: entropy.bytes(Int.random(in: 0...200, using: &entropy)))
            let message = entropy.bytes(Int.random(in: 0...300, using: &entropy))
            var context = key.begin()
            var offset = 0
            while offset < message.count {
                let end = Int.random(in: offset...message.count, using: &entropy)
                context.update(message.span.extracting(offset..<end))
                offset = end
            }
            let code = buildBytes(capacity: 32) { context.finish(into: &$0) }
            #expect(code == key.authenticationCode(for: message))
            #expect(code.count == hash.digestByteCount)
        }
    }

    @Test func `A key serves many messages, and a copied context goes its own way`() {
        let key = HMACKey(.sha1, key: Self.text("Jefe"))
        _ = key.authenticationCode(for: Self.text("something else"))
        var first = key.begin()
        first.update(Self.text("what do ya want ").span)
        var second = first
        first.update(Self.text("for nothing?").span)
        second.update(Self.text("for something?").span)
        let code: [UInt8] = first.finish()
        #expect(Hex.encode(code) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
        #expect(second.finish() != code)
    }

    @Test(arguments: HashAlgorithm.allCases)
    func `Only the whole code of the message is valid`(hash: HashAlgorithm) {
        let key = HMACKey(hash, key: [1, 2, 3])
        let message: [UInt8] = [4, 5, 6]
        let code = key.authenticationCode(for: message)
        #expect(key.hash == hash)
        #expect(key.isValid(code, for: message))
        #expect(!key.isValid(Array(code.dropLast(4)), for: message))
        #expect(!key.isValid(code + [0], for: message))
        for index in code.indices {
            var wrong = code
            wrong[index] ^= 0x80
            #expect(!key.isValid(wrong, for: message))
        }
    }

    @Test func `A key does not show itself`() {
        let key = HMACKey(.sha256, key: [1, 2, 3])
        var text = ""
        dump(key, to: &text)
        #expect("\(key)" == "HMACKey(sha256)")
        #expect(text == "- HMACKey(sha256)\n")
    }

    @Test func `Spans are equal in constant time exactly if their bytes are`() {
        #expect(constantTimeEqual([], []))
        #expect(constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEqual([0, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2]))
        #expect(!constantTimeEqual([], [0]))
    }

    private static func bytes(_ byte: UInt8, _ count: Int) -> [UInt8] { Array(repeating: byte, count: count) }
    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
}
