import Bytes
import Crypto
import Testing

@Suite struct MessageDigestTests {
    @Test(
        arguments: [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f"
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a"
            ),
            ("user:realm:pass", "8493fbc53ba582fb4c044c456bdc40eb"),
        ]
    )
    func `MD5 gives the digests of RFC 1321 A.5 and the long-term key of RFC 8489`(text: String, digest: String) {
        #expect(Hex.encode(MessageDigest.md5(Array(text.utf8))) == digest)
    }

    @Test func `SHA-1, SHA-256 and SHA-512 give the digests of FIPS 180-4's examples`() {
        let message = Array("abc".utf8)
        #expect(Hex.encode(MessageDigest.sha1(message)) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(
            Hex.encode(MessageDigest.sha256(message))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        #expect(
            Hex.encode(MessageDigest.sha512(message))
                == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        )
    }

    @Test func `SHA-1 gives the accept key of RFC 6455 §1.3`() {
        let key = Array("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)
        #expect(Base64.encode(MessageDigest.sha1(key)) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test func `A digest of a span is that of the array`() {
        let message = [UInt8](repeating: 0x61, count: 1000)
        let digest = MessageDigest.sha256(message.span)
        #expect(digest.indices.map { digest[$0] } == MessageDigest.sha256(message))
        #expect(
            Hex.encode(MessageDigest.sha256(message))
                == "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"
        )
    }
}
