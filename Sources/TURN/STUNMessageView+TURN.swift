import Bytes
public import NetTypes
public import STUN

/// The attributes of RFC 8656 and RFC 6062, read: `nil` if absent, an error if malformed.
extension STUNMessageView {
    /// The first XOR-PEER-ADDRESS; a CreatePermission request may have more, see `forEachPeerAddress`.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func xorPeerAddress() throws(STUNError) -> SocketAddress? { try xorAddress(.xorPeerAddress) }

    /// Calls `body` with each XOR-PEER-ADDRESS in order and returns how many there were (RFC 8656 §10.2).
    ///
    /// - Throws: `STUNError` at the first that cannot be read; those before it were given to `body` already.
    public func forEachPeerAddress(_ body: (SocketAddress) -> Void) throws(STUNError) -> Int {
        var count = 0
        var iterator = attributes
        while let attribute = iterator.next() {
            guard attribute.type == .xorPeerAddress else { continue }
            body(try xorAddress(in: attribute))
            count &+= 1
        }
        return count
    }

    /// The first XOR-RELAYED-ADDRESS.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func xorRelayedAddress() throws(STUNError) -> SocketAddress? { try xorAddress(.xorRelayedAddress) }

    /// The XOR-RELAYED-ADDRESS of one family: a dual allocation has two (RFC 8656 §7.2).
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func xorRelayedAddress(_ family: AddressFamily) throws(STUNError) -> SocketAddress? {
        var iterator = attributes
        while let attribute = iterator.next() {
            guard attribute.type == .xorRelayedAddress else { continue }
            let address = try xorAddress(in: attribute)
            if address.family == family { return address }
        }
        return nil
    }

    /// LIFETIME in seconds.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func lifetimeSeconds() throws(STUNError) -> UInt32? {
        try value(.lifetime, byteCount: 4)?.bigEndianUInt32(at: 0)
    }

    /// The number in CHANNEL-NUMBER, which may be none of a channel: `ChannelNumber` tells; the rest is ignored.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func channelNumber() throws(STUNError) -> UInt16? {
        try value(.channelNumber, byteCount: 4)?.bigEndianUInt16(at: 0)
    }

    /// DATA without padding; may be empty.
    @_lifetime(copy self)
    public func data() -> Span<UInt8>? { value(.data) }

    /// Where the bytes of DATA stand in the message, to send them from where they are.
    public func dataRange() -> Range<Int>? {
        guard let data = value(.data), let range = bytes.indices(of: data) else { return nil }
        return range
    }

    /// REQUESTED-TRANSPORT; its reserved bytes are ignored (turn 151).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func requestedTransport() throws(STUNError) -> RelayedTransport? {
        guard let value = try value(.requestedTransport, byteCount: 4) else { return nil }
        return RelayedTransport(rawValue: value[0])
    }

    /// REQUESTED-ADDRESS-FAMILY.
    ///
    /// - Throws: `STUNError.malformedAttribute`, or `.unknownAddressFamily`, to which the answer is 440 (turn 160).
    public func requestedAddressFamily() throws(STUNError) -> AddressFamily? { try family(.requestedAddressFamily) }

    /// ADDITIONAL-ADDRESS-FAMILY; only IPv6 is legal in a request (turn 106).
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func additionalAddressFamily() throws(STUNError) -> AddressFamily? { try family(.additionalAddressFamily) }

    /// EVEN-PORT: whether the next higher port is to be reserved as well.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 1 byte.
    public func evenPortReservesNext() throws(STUNError) -> Bool? {
        guard let value = try value(.evenPort, byteCount: 1) else { return nil }
        return value[0] & 0x80 != 0
    }

    /// RESERVATION-TOKEN.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 8 bytes.
    public func reservationToken() throws(STUNError) -> ReservationToken? {
        guard let value = try value(.reservationToken, byteCount: 8) else { return nil }
        return ReservationToken(rawValue: value.bigEndianUInt64(at: 0))
    }

    /// DONT-FRAGMENT; its value, which should be empty, is ignored.
    public var dontFragment: Bool { contains(.dontFragment) }

    /// ADDRESS-ERROR-CODE: the family that was not allocated, and why.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func addressErrorCode() throws(STUNError) -> (family: AddressFamily, code: ErrorCode)? {
        guard let value = value(.addressErrorCode) else { return nil }
        guard value.count >= 4, 3...6 ~= value[2] & 7, value[3] < 100 else {
            throw .malformedAttribute(.addressErrorCode)
        }
        guard let family = AddressFamily(attributeNumber: value[0]) else {
            throw .unknownAddressFamily(.addressErrorCode, value[0])
        }
        return (family, ErrorCode(rawValue: UInt16(value[2] & 7) &* 100 &+ UInt16(value[3])))
    }

    /// ICMP.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 8 bytes.
    public func icmp() throws(STUNError) -> ICMPReport? {
        guard let value = try value(.icmp, byteCount: 8) else { return nil }
        return ICMPReport(type: value[2], code: value[3], errorData: value.bigEndianUInt32(at: 4))
    }

    /// CONNECTION-ID (RFC 6062 §6.2.1).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func connectionID() throws(STUNError) -> UInt32? {
        try value(.connectionID, byteCount: 4)?.bigEndianUInt32(at: 0)
    }

    private func family(_ type: AttributeType) throws(STUNError) -> AddressFamily? {
        guard let value = try value(type, byteCount: 4) else { return nil }
        guard let family = AddressFamily(attributeNumber: value[0]) else { throw .unknownAddressFamily(type, value[0]) }
        return family
    }
}
