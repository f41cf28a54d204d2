/// The CRC-32 of ITU V.42 (reflected polynomial 0xEDB88320), as STUN's FINGERPRINT uses it (RFC 8489 §14.7).
public enum CRC32 {
    // Four tables of 256: slicing-by-4 needs a quarter of the steps of the plain byte table.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 4 * 256)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value &>> 1 ^ 0xEDB8_8320 : value &>> 1 }
            tables[byte] = value
        }
        for index in 256..<1024 {
            let previous = tables[index - 256]
            tables[index] = previous &>> 8 ^ tables[Int(previous & 255)]
        }
        return tables
    }()

    /// The checksum of `bytes`.
    public static func checksum(_ bytes: Span<UInt8>) -> UInt32 {
        let table = tables.span
        var value: UInt32 = 0xFFFF_FFFF
        var index = 0
        while index &+ 4 <= bytes.count {
            value ^= bytes.bigEndianUInt32(at: index).byteSwapped
            value =
                table[768 &+ Int(value & 255)] ^ table[512 &+ Int(value &>> 8 & 255)]
                ^ table[256 &+ Int(value &>> 16 & 255)] ^ table[Int(value &>> 24)]
            index &+= 4
        }
        while index < bytes.count {
            value = value &>> 8 ^ table[Int((value ^ UInt32(bytes[index])) & 255)]
            index &+= 1
        }
        return ~value
    }
}
