extension OutputSpan where Element == UInt8 {
    /// Appends a 16-bit integer, most significant byte first; the free capacity must be at least 2.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func append(bigEndian value: UInt16) {
        append(UInt8(truncatingIfNeeded: value &>> 8))
        append(UInt8(truncatingIfNeeded: value))
    }

    /// Appends a 32-bit integer, most significant byte first; the free capacity must be at least 4.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func append(bigEndian value: UInt32) {
        append(bigEndian: UInt16(truncatingIfNeeded: value &>> 16))
        append(bigEndian: UInt16(truncatingIfNeeded: value))
    }

    /// Appends a 64-bit integer, most significant byte first; the free capacity must be at least 8.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func append(bigEndian value: UInt64) {
        append(bigEndian: UInt32(truncatingIfNeeded: value &>> 32))
        append(bigEndian: UInt32(truncatingIfNeeded: value))
    }

    /// Appends all bytes of `bytes`; the free capacity must suffice.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func append(contentsOf bytes: Span<UInt8>) {
        guard bytes.count > 0 else { return }
        precondition(bytes.count <= freeCapacity, "no room for the bytes")
        unsafe bytes.withUnsafeBufferPointer { source in
            unsafe withUnsafeMutableBufferPointer { target, count in
                // In bounds by the precondition; neither of the two is empty.
                unsafe (target.baseAddress.unsafelyUnwrapped + count)
                    .initialize(from: source.baseAddress.unsafelyUnwrapped, count: source.count)
                count += source.count
            }
        }
    }

    /// Appends `count` zero bytes; the free capacity must suffice.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func append(zeros count: Int) {
        for _ in 0..<count { append(0) }
    }
}

/// Runs `body` with an output span of `capacity` bytes and returns what it wrote as an array; allocates.
@inlinable
public func buildBytes<Failure: Error>(
    capacity: Int,
    _ body: (inout OutputSpan<UInt8>) throws(Failure) -> Void
) throws(Failure) -> [UInt8] {
    try [UInt8](capacity: capacity, initializingWith: body)
}
