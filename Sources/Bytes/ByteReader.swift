/// A cursor over borrowed bytes that reads big-endian integers and never leaves its span.
public struct ByteReader: ~Escapable {
    @usableFromInline let bytes: Span<UInt8>

    /// How many bytes have been read, from 0 to the length of the span.
    public private(set) var offset = 0

    /// Starts at the first byte of `bytes`.
    @_lifetime(copy bytes)
    public init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    /// How many bytes are left to read.
    public var remaining: Int { bytes.count &- offset }

    /// Reads one byte.
    ///
    /// - Throws: `WireError.truncated` at the end of the span.
    public mutating func readUInt8() throws(WireError) -> UInt8 {
        try require(1)
        defer { offset &+= 1 }
        return bytes[offset]
    }

    /// Reads a 16-bit big-endian integer.
    ///
    /// - Throws: `WireError.truncated` if fewer than two bytes are left.
    public mutating func readUInt16() throws(WireError) -> UInt16 {
        try require(2)
        defer { offset &+= 2 }
        return bytes.bigEndianUInt16(at: offset)
    }

    /// Reads a 32-bit big-endian integer.
    ///
    /// - Throws: `WireError.truncated` if fewer than four bytes are left.
    public mutating func readUInt32() throws(WireError) -> UInt32 {
        try require(4)
        defer { offset &+= 4 }
        return bytes.bigEndianUInt32(at: offset)
    }

    /// Reads a 64-bit big-endian integer.
    ///
    /// - Throws: `WireError.truncated` if fewer than eight bytes are left.
    public mutating func readUInt64() throws(WireError) -> UInt64 {
        try require(8)
        defer { offset &+= 8 }
        return UInt64(bytes.bigEndianUInt32(at: offset)) &<< 32 | UInt64(bytes.bigEndianUInt32(at: offset &+ 4))
    }

    /// Reads `count` bytes without copying them.
    ///
    /// - Throws: `WireError.truncated` if fewer than `count` bytes are left.
    @_lifetime(copy self)
    public mutating func read(_ count: Int) throws(WireError) -> Span<UInt8> {
        try require(count)
        defer { offset &+= count }
        return bytes.extracting(offset..<offset &+ count)
    }

    private func require(_ count: Int) throws(WireError) {
        guard count >= 0, remaining >= count else { throw .truncated(needed: count, available: remaining) }
    }
}
