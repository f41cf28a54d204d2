public import Bytes

/// What a poller's token says: which kind of thing became ready, and which one of its kind.
public struct PollToken: Hashable, Sendable {
    /// The kind, as the owner of the loop numbers them.
    public let kind: UInt8
    /// The place and the generation in the owner's pool; stale ones find nothing.
    public let handle: SlotHandle

    /// Makes a token; pools of a loop must hold fewer than 2^24 elements.
    public init(_ kind: UInt8, _ handle: SlotHandle = SlotHandle(index: 0, generation: 0)) {
        self.kind = kind
        self.handle = handle
    }

    /// Reads a token from the poller's number.
    public init(bits: UInt64) {
        kind = UInt8(truncatingIfNeeded: bits &>> 56)
        handle = SlotHandle(
            index: UInt32(truncatingIfNeeded: bits & 0xFF_FFFF),
            generation: UInt32(truncatingIfNeeded: bits &>> 24)
        )
    }

    /// The token as the poller's number: 8 bits of kind, 32 of generation, 24 of index.
    public var bits: UInt64 {
        UInt64(kind) &<< 56 | UInt64(handle.generation) &<< 24 | UInt64(handle.index & 0xFF_FFFF)
    }
}
