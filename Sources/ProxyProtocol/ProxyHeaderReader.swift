import Bytes
import NetTypes

/// Reads one header of a proxy from the beginning of a stream, in pieces of any size.
///
/// It takes no byte behind the header: what `receive` did not take is the client's.
public struct ProxyHeaderReader: Sendable {
    /// The longest header that is read, in bytes; the TLVs of version 2 could fill 64 KiB.
    public static let maximumByteCount = 4096

    /// What became of bytes.
    public enum Progress: Hashable, Sendable {
        /// So many bytes, which are all, were taken; the header goes on.
        case incomplete(Int)
        /// The header ends after so many bytes.
        case complete(Int, ProxyHeader)
        /// This is no header that can be believed; the connection must end.
        case failed(ProxyHeaderError)
    }

    static let longestLine = 107
    static let binaryPrefixBytes = 16
    private static let textSignature: [UInt8] = Array("PROXY ".utf8)
    private static let binarySignature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]

    private var taken: [UInt8] = []

    /// Makes a reader for one connection.
    public init() {}

    /// Takes bytes up to the end of the header.
    ///
    /// After `.complete` or `.failed` it is not to be called again.
    public mutating func receive(_ bytes: Span<UInt8>) -> Progress {
        for index in bytes.indices {
            taken.append(bytes[index])
            do throws(ProxyHeaderError) {
                if let header = try finished() { return .complete(index + 1, header) }
            } catch {
                return .failed(error)
            }
        }
        return .incomplete(bytes.count)
    }

    /// The header, if the last byte has completed it.
    private func finished() throws(ProxyHeaderError) -> ProxyHeader? {
        let count = taken.count
        if taken[0] == Self.textSignature[0] {
            try match(Self.textSignature)
            guard taken[count - 1] == 0x0A, taken[count - 2] == 0x0D else {
                guard count < Self.longestLine else { throw .tooLong }
                return nil
            }
            return try TextHeader.parse(taken.span.extracting(..<(count - 2)))
        }
        try match(Self.binarySignature)
        guard count >= Self.binaryPrefixBytes else { return nil }
        let total = Self.binaryPrefixBytes + Int(taken[14]) << 8 + Int(taken[15])
        guard total <= Self.maximumByteCount else { throw .tooLong }
        return count == total ? try BinaryHeader.parse(taken.span) : nil
    }

    /// Checks the last byte against a signature.
    private func match(_ signature: [UInt8]) throws(ProxyHeaderError) {
        let last = taken.count - 1
        guard last >= signature.count || taken[last] == signature[last] else { throw .absent }
    }
}

/// Version 1: one line of text.
enum TextHeader {
    /// Parses a line without its end.
    static func parse(_ line: Span<UInt8>) throws(ProxyHeaderError) -> ProxyHeader {
        let text = line.toArray()
        guard text.allSatisfy({ (0x20...0x7E).contains($0) }) else { throw .badLine }
        let words = text.split(separator: 0x20, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        let family: AddressFamily
        switch words.dropFirst().first {
        // What follows is not to be looked at.
        case "UNKNOWN": return .unknown
        case "TCP4": family = .ipv4
        case "TCP6": family = .ipv6
        default: throw .badLine
        }
        guard words.count == 6 else { throw .badLine }
        return .client(
            source: SocketAddress(try address(words[2], family), port: try port(words[4])),
            destination: SocketAddress(try address(words[3], family), port: try port(words[5]))
        )
    }

    private static func address(_ text: String, _ family: AddressFamily) throws(ProxyHeaderError) -> IPAddress {
        guard let address = IPAddress(text), address.family == family else { throw .badAddress }
        return address
    }

    private static func port(_ text: String) throws(ProxyHeaderError) -> UInt16 {
        let isPlain = text.utf8.allSatisfy { (0x30...0x39).contains($0) } && (text == "0" || !text.hasPrefix("0"))
        guard isPlain, let port = UInt16(text) else { throw .badPort }
        return port
    }
}
