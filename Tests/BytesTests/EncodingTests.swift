import Bytes
import NetTypes
import TestSupport
import Testing

@Suite struct EncodingTests {
    // RFC 4648 §10
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func `base 64 has the RFC's vectors both ways`(plain: String, text: String) {
        #expect(Base64.encode(Array(plain.utf8)) == text)
        #expect(Base64.decode(text) == Array(plain.utf8))
        let bare = text.replacing("=", with: "")
        #expect(Base64.encode(Array(plain.utf8), .url) == bare)
        #expect(Base64.decode(bare, .url) == Array(plain.utf8))
    }

    @Test(arguments: ["Z", "Zg", "Zg=", "Zh==", "Zg===", "Z===", "====", "Zm9v\n", "Zm-v", "Zm9v Zg=="])
    func `what is not base 64 is refused`(text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test(arguments: seeds(50))
    func `encodings return what they were given`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let bytes = entropy.bytes(Int(entropy.next() % 100))
        #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        #expect(Base64.decode(Base64.encode(bytes, .url), .url) == bytes)
        #expect(Hex.decode(Hex.encode(bytes)) == bytes)
        #expect(Hex.decode(Hex.encode(bytes).uppercased()) == bytes)
    }

    @Test func `hex refuses half bytes and other letters`() {
        #expect(Hex.decode("abc") == nil)
        #expect(Hex.decode("zz") == nil)
        #expect(Hex.encode([0, 0x0F, 0xFF]) == "000fff")
    }

    @Test func `the CRC-32 of the nine digits is the standard's check value`() {
        #expect(CRC32.checksum(Array("123456789".utf8).span) == 0xCBF4_3926)
        #expect(CRC32.checksum([UInt8]().span) == 0)
    }

    @Test(arguments: seeds(20))
    func `the CRC-32 by fours equals the one by bits`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let bytes = entropy.bytes(Int(entropy.next() % 70))
        var value = UInt32.max
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
        }
        #expect(CRC32.checksum(bytes.span) == ~value)
    }

    @Test func `a reader reads big-endian and stops at the end`() throws {
        let bytes: [UInt8] = [1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 9]
        var reader = ByteReader(bytes.span)
        #expect(try reader.readUInt8() == 1)
        #expect(try reader.readUInt16() == 2)
        #expect(try reader.readUInt32() == 3)
        #expect(try reader.readUInt64() == 4)
        let left = reader.remaining
        #expect(left == 1)
        let failure: WireError?
        do {
            _ = try reader.readUInt16()
            failure = nil
        } catch { failure = error }
        #expect(failure == .truncated(needed: 2, available: 1))
        let rest = try reader.read(1).toArray()
        #expect(rest == [9])
    }

    @Test func `what is written big-endian is read back`() {
        let bytes = buildBytes(capacity: 20) { output in
            output.append(bigEndian: UInt16(0x0102))
            output.append(bigEndian: UInt32(0x0304_0506))
            output.append(bigEndian: UInt64(0x0708_090A_0B0C_0D0E))
            output.append(zeros: 2)
        }
        #expect(bytes == Array(1...14) + [0, 0])
        var copy = bytes
        var span = copy.mutableSpan
        span.store(bigEndian: UInt32(0xA1A2_A3A4), at: 1)
        #expect(copy[0..<6] == [1, 0xA1, 0xA2, 0xA3, 0xA4, 6])
    }
}
