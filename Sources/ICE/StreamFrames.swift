import Bytes

/// Cuts the frames of RFC 4571 out of a byte stream: 16 bits of length, then so many bytes (RFC 6544 §7.1; ice 124).
public struct StreamFrames: ~Copyable {
    private var buffer: [UInt8] = []
    private var start = 0

    /// Starts at the beginning of a stream.
    public init() {}

    /// How many bytes the header has.
    public static let headerByteCount = 2
    /// How long a frame may be.
    public static let maximumByteCount = 0xFFFF

    /// Takes the next bytes of the stream; then call `withNext` until it returns `false`.
    public mutating func append(_ bytes: Span<UInt8>) {
        if start > 0, start == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            start = 0
        } else if start > 4096 {
            buffer.removeSubrange(..<start)
            start = 0
        }
        for index in bytes.indices { buffer.append(bytes[index]) }
    }

    /// Shows the next whole frame to `body`; returns `false` if there is none yet.
    ///
    /// Empty frames are skipped.
    public mutating func withNext(_ body: (Span<UInt8>) -> Void) -> Bool {
        while buffer.count - start >= Self.headerByteCount {
            let count = Int(buffer[start]) &<< 8 | Int(buffer[start + 1])
            let end = start + Self.headerByteCount + count
            guard end <= buffer.count else { return false }
            defer { start = end }
            guard count > 0 else { continue }
            body(buffer.span.extracting((start + Self.headerByteCount)..<end))
            return true
        }
        return false
    }

    /// Appends the header of a frame of so many bytes, at most 65535.
    public static func writeHeader(byteCount: Int, into output: inout OutputSpan<UInt8>) {
        precondition(byteCount <= maximumByteCount, "a frame has at most 65535 bytes")
        output.append(bigEndian: UInt16(byteCount))
    }
}
