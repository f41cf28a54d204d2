extension Span where Element == UInt8 {
    /// The 16-bit big-endian integer at `offset`, which must be at most `count - 2`.
    @inlinable
    public func bigEndianUInt16(at offset: Int) -> UInt16 {
        UInt16(self[offset]) &<< 8 | UInt16(self[offset &+ 1])
    }

    /// The 32-bit big-endian integer at `offset`, which must be at most `count - 4`.
    @inlinable
    public func bigEndianUInt32(at offset: Int) -> UInt32 {
        UInt32(self[offset]) &<< 24 | UInt32(self[offset &+ 1]) &<< 16 | UInt32(self[offset &+ 2]) &<< 8
            | UInt32(self[offset &+ 3])
    }

    /// The 64-bit big-endian integer at `offset`, which must be at most `count - 8`.
    @inlinable
    public func bigEndianUInt64(at offset: Int) -> UInt64 {
        UInt64(bigEndianUInt32(at: offset)) &<< 32 | UInt64(bigEndianUInt32(at: offset &+ 4))
    }

    /// A copy of the bytes; allocates.
    @inlinable
    public func toArray() -> [UInt8] {
        [UInt8](capacity: count) { $0.append(contentsOf: self) }
    }

    /// Whether both spans hold the same bytes.
    ///
    /// Not for secrets: the time taken tells where they differ.
    @inlinable
    public func elementsEqual(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        for index in indices where self[index] != other[index] { return false }
        return true
    }
}

extension MutableSpan where Element == UInt8 {
    /// Stores a 16-bit big-endian integer at `offset`, which must be at most `count - 2`.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func store(bigEndian value: UInt16, at offset: Int) {
        self[offset] = UInt8(truncatingIfNeeded: value &>> 8)
        self[offset &+ 1] = UInt8(truncatingIfNeeded: value)
    }

    /// Stores a 32-bit big-endian integer at `offset`, which must be at most `count - 4`.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func store(bigEndian value: UInt32, at offset: Int) {
        store(bigEndian: UInt16(truncatingIfNeeded: value &>> 16), at: offset)
        store(bigEndian: UInt16(truncatingIfNeeded: value), at: offset &+ 2)
    }
}
