import Bytes
import NetTypes

/// The types of records that are known here.
enum DNSType {
    static let a: UInt16 = 1
    static let aaaa: UInt16 = 28
    static let nsec: UInt16 = 47
    static let any: UInt16 = 255

    static func of(_ family: AddressFamily) -> UInt16 { family == .ipv4 ? a : aaaa }
}

/// Why bytes are no message that could be used.
enum DNSError: Error {
    case malformed
    case notSupported
    case tooManyRecords
}

/// What of a DNS message matters here: questions and addresses of one-label names in `.local` (RFC 6762 §18).
///
/// Everything else is skipped, though its form is checked. Reading is bounded by `maximumByteCount` and
/// `maximumRecordCount`; a compressed name may only point back to before itself, so that no name ever loops.
struct DNSMessage {
    struct Question: Hashable {
        let name: MDNSName
        let type: UInt16
        /// The top bit of the class: an answer by unicast will do (RFC 6762 §5.4).
        let wantsUnicast: Bool
    }

    struct Record: Hashable {
        let name: MDNSName
        let address: IPAddress
        let ttlSeconds: UInt32
        /// The top bit of the class: older addresses of the name are void (RFC 6762 §10.2).
        let flushesCache: Bool
    }

    static let maximumByteCount = 9000
    static let maximumRecordCount = 256
    static let headerByteCount = 12

    let id: UInt16
    let isResponse: Bool
    /// More known answers follow in another message (RFC 6762 §7.2).
    let isTruncated: Bool
    private(set) var questions: [Question] = []
    /// Known answers of a query; answers and additional records of a response.
    private(set) var records: [Record] = []

    init(_ bytes: Span<UInt8>) throws(DNSError) {
        guard bytes.count >= Self.headerByteCount, bytes.count <= Self.maximumByteCount else { throw .malformed }
        id = bytes.bigEndianUInt16(at: 0)
        let flags = bytes.bigEndianUInt16(at: 2)
        isResponse = flags & 0x8000 != 0
        isTruncated = flags & 0x0200 != 0
        // Operation and response code must be zero (RFC 6762 §18.3, §18.11).
        guard flags & 0x780F == 0 else { throw .notSupported }
        let counts = (0..<4).map { Int(bytes.bigEndianUInt16(at: 4 + 2 * $0)) }
        guard counts.reduce(0, +) <= Self.maximumRecordCount else { throw .tooManyRecords }
        var offset = Self.headerByteCount
        for _ in 0..<counts[0] { try readQuestion(bytes, &offset) }
        for section in 1...3 {
            // The authority section is for probes, and ours are no names that anyone else would want.
            for _ in 0..<counts[section] { try readRecord(bytes, &offset, isKept: section != 2) }
        }
    }

    private mutating func readQuestion(_ bytes: Span<UInt8>, _ offset: inout Int) throws(DNSError) {
        let name = try Self.readName(bytes, &offset)
        guard bytes.count - offset >= 4 else { throw .malformed }
        let type = bytes.bigEndianUInt16(at: offset)
        let dnsClass = bytes.bigEndianUInt16(at: offset + 2)
        offset += 4
        guard let name, [1, 255].contains(dnsClass & 0x7FFF) else { return }
        let question = Question(name: name, type: type, wantsUnicast: dnsClass & 0x8000 != 0)
        if !questions.contains(question) { questions.append(question) }
    }

    private mutating func readRecord(_ bytes: Span<UInt8>, _ offset: inout Int, isKept: Bool) throws(DNSError) {
        let name = try Self.readName(bytes, &offset)
        guard bytes.count - offset >= 10 else { throw .malformed }
        let type = bytes.bigEndianUInt16(at: offset)
        let dnsClass = bytes.bigEndianUInt16(at: offset + 2)
        let ttl = bytes.bigEndianUInt32(at: offset + 4)
        let length = Int(bytes.bigEndianUInt16(at: offset + 8))
        offset += 10
        guard bytes.count - offset >= length else { throw .malformed }
        defer { offset += length }
        guard isKept, let name, dnsClass & 0x7FFF == 1, type == DNSType.a || type == DNSType.aaaa else { return }
        guard let address = IPAddress(bytes: bytes.extracting(offset..<offset + length)),
            DNSType.of(address.family) == type
        else { throw .malformed }
        records.append(
            Record(name: name, address: address, ttlSeconds: ttl, flushesCache: dnsClass & 0x8000 != 0)
        )
    }

    /// Reads a name, `nil` if it is not one label in `.local`; moves `offset` behind it.
    private static func readName(_ bytes: Span<UInt8>, _ offset: inout Int) throws(DNSError) -> MDNSName? {
        var position = offset
        /// Pointers must lead to before here: each jump lowers it, so there is an end.
        var limit = offset
        var hasJumped = false
        var length = 1
        var labels: [Range<Int>] = []
        while true {
            guard position < bytes.count else { throw .malformed }
            let count = Int(bytes[position])
            switch count {
            case 0:
                if !hasJumped { offset = position + 1 }
                return name(labels, bytes)
            case 1...63:
                length += count + 1
                guard length <= 255, bytes.count - position > count else { throw .malformed }
                if labels.count < 3 { labels.append(position + 1..<position + 1 + count) }
                position += count + 1
            case 0xC0...0xFF:
                guard bytes.count - position >= 2 else { throw .malformed }
                let target = Int(bytes.bigEndianUInt16(at: position) & 0x3FFF)
                if !hasJumped { offset = position + 2 }
                hasJumped = true
                guard target < limit, target >= headerByteCount else { throw .malformed }
                limit = target
                position = target
            default: throw .malformed
            }
        }
    }

    private static func name(_ labels: [Range<Int>], _ bytes: Span<UInt8>) -> MDNSName? {
        guard labels.count == 2, labels[1].count == 5 else { return nil }
        let top = bytes.extracting(labels[1])
        for (index, letter) in "local".utf8.enumerated() where top[index] | 0x20 != letter { return nil }
        return MDNSName(label: bytes.extracting(labels[0]).toArray())
    }
}
