/// A set of attribute types that an agent understands: a mask, no allocation.
///
/// Holds the types 0x0000 to 0x003F, among which are all comprehension-required ones that are registered. Optional ones
/// need not be listed, because an agent ignores those that it does not know.
public struct AttributeSet: Hashable, Sendable, ExpressibleByArrayLiteral {
    private var mask: UInt64 = 0

    /// Makes a set of the given types; those above 0x003F are left out.
    public init(arrayLiteral types: AttributeType...) {
        for type in types { insert(type) }
    }

    /// Adds a type; without effect above 0x003F.
    public mutating func insert(_ type: AttributeType) {
        if type.rawValue < 64 { mask |= 1 &<< UInt64(type.rawValue) }
    }

    /// Takes a type out.
    public mutating func remove(_ type: AttributeType) {
        if type.rawValue < 64 { mask &= ~(1 &<< UInt64(type.rawValue)) }
    }

    /// Whether the type is in the set.
    public func contains(_ type: AttributeType) -> Bool {
        type.rawValue < 64 && mask & 1 &<< UInt64(type.rawValue) != 0
    }

    /// The types of both sets.
    public func union(_ other: AttributeSet) -> AttributeSet {
        var union = self
        union.mask |= other.mask
        return union
    }

    /// The comprehension-required attributes of RFC 8489: what every STUN agent knows.
    public static let stun: AttributeSet = [
        .mappedAddress, .username, .messageIntegrity, .errorCode, .unknownAttributes, .realm, .nonce,
        .messageIntegritySHA256, .passwordAlgorithm, .userhash, .xorMappedAddress,
    ]

    /// Those of RFC 8656 (TURN over UDP), together with `stun`.
    public static let turn = stun.union([
        .channelNumber, .lifetime, .xorPeerAddress, .data, .xorRelayedAddress, .requestedAddressFamily, .evenPort,
        .requestedTransport, .dontFragment, .reservationToken,
    ])

    /// Those of RFC 8445 (ICE), together with `stun`.
    public static let ice = stun.union([.priority, .useCandidate])
}

/// A short list of attribute types as UNKNOWN-ATTRIBUTES carries it: each at most once, at most `maximumCount`.
public struct AttributeTypeList: Sendable {
    /// How many types the list holds at most: a peer decides how many it sends, not how long our answer is.
    public static let maximumCount = 16

    private var types = InlineArray<16, UInt16>(repeating: 0)
    /// How many types the list holds.
    public private(set) var count = 0

    /// Makes an empty list.
    public init() {}

    /// Makes a list of the given types, as far as it holds them.
    public init(_ types: [AttributeType]) {
        for type in types { insert(type) }
    }

    /// Whether there is nothing in the list.
    public var isEmpty: Bool { count == 0 }

    /// The type of that position, which must be below `count`.
    public subscript(index: Int) -> AttributeType { AttributeType(rawValue: types[index]) }

    /// Whether the type is in the list.
    public func contains(_ type: AttributeType) -> Bool {
        for index in 0..<count where types[index] == type.rawValue { return true }
        return false
    }

    /// Adds a type, if it is not there and there is room.
    public mutating func insert(_ type: AttributeType) {
        guard count < Self.maximumCount, !contains(type) else { return }
        types[count] = type.rawValue
        count &+= 1
    }
}
