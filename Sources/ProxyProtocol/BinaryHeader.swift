import Bytes
import NetTypes

/// Version 2: signature, command, family, length, addresses, TLVs.
enum BinaryHeader {
    private static let checksumType: UInt8 = 0x03

    /// Parses a whole header, whose signature and length were checked.
    static func parse(_ header: Span<UInt8>) throws(ProxyHeaderError) -> ProxyHeader {
        let start = ProxyHeaderReader.binaryPrefixBytes
        let (command, protocols) = (header[12], header[13])
        guard command >> 4 == 2, command & 15 <= 1 else { throw .badCommand }
        // A proxy that speaks for itself may leave anything in the addresses' place.
        guard command & 15 == 1 else { return .unknown }
        let addressBytes: Int
        switch (protocols >> 4, protocols & 15) {
        case (0, 0...2): addressBytes = 0
        case (1, 1): addressBytes = 12
        case (2, 1): addressBytes = 36
        // A client of the proxy's own machine, at the other end of a UNIX socket.
        case (3, 1): addressBytes = 216
        default: throw .badFamily
        }
        guard header.count - start >= addressBytes else { throw .tooShort }
        // Without a family the rest is of no known form.
        guard protocols >> 4 != 0 else { return .unknown }
        try checkTLVs(of: header, from: start + addressBytes)
        guard protocols >> 4 != 3 else { return .unknown }
        let ipBytes = addressBytes == 12 ? 4 : 16
        guard let source = IPAddress(bytes: header.extracting(start..<start + ipBytes)),
            let destination = IPAddress(bytes: header.extracting(start + ipBytes..<start + 2 * ipBytes))
        else { throw .badAddress }
        let ports = start + 2 * ipBytes
        return .client(
            source: SocketAddress(source, port: header.bigEndianUInt16(at: ports)),
            destination: SocketAddress(destination, port: header.bigEndianUInt16(at: ports + 2))
        )
    }

    private static func checkTLVs(of header: Span<UInt8>, from start: Int) throws(ProxyHeaderError) {
        var offset = start
        while offset < header.count {
            guard header.count - offset >= 3 else { throw .badTLV }
            let (value, count) = (offset + 3, Int(header.bigEndianUInt16(at: offset + 1)))
            guard header.count - value >= count else { throw .badTLV }
            if header[offset] == checksumType {
                guard count == 4 else { throw .badTLV }
                guard header.bigEndianUInt32(at: value) == checksum(of: header, zeroing: value..<value + 4) else {
                    throw .badChecksum
                }
            }
            offset = value + count
        }
    }

    /// The CRC-32C (RFC 9260 Appendix A) of the header with the checksum's own bytes as zeros.
    ///
    /// Bit by bit: a header has a few hundred bytes and comes once for each connection.
    static func checksum(of header: Span<UInt8>, zeroing field: Range<Int>) -> UInt32 {
        var value: UInt32 = 0xFFFF_FFFF
        for index in header.indices {
            value ^= field.contains(index) ? 0 : UInt32(header[index])
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
        }
        return ~value
    }
}
