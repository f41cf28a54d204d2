import Bytes
public import NetTypes

/// MAPPED-ADDRESS and its XORed form (RFC 8489 §14.1, §14.2).
enum AddressCoding {
    /// Reads family, port and address; `transactionID` is given for the XORed form.
    static func decode(
        _ value: Span<UInt8>,
        _ type: AttributeType,
        xoredWith transactionID: TransactionID?
    ) throws(STUNError) -> SocketAddress {
        guard value.count >= 4 else { throw .malformedAttribute(type) }
        guard let family = AddressFamily(attributeNumber: value[1]) else { throw .unknownAddressFamily(type, value[1]) }
        guard let ip = IPAddress(bytes: value.extracting(droppingFirst: 4)), ip.family == family else {
            throw .malformedAttribute(type)
        }
        let address = SocketAddress(ip, port: value.bigEndianUInt16(at: 2))
        guard let transactionID else { return address }
        return transactionID.xor(address)
    }
}

extension TransactionID {
    /// The address masked by cookie and transaction identifier (RFC 8489 §14.2); doing it twice changes nothing.
    public func xor(_ address: SocketAddress) -> SocketAddress {
        let cookie = STUNFormat.magicCookie
        let ip: IPAddress
        switch address.family {
        case .ipv4: ip = IPAddress(ipv4: address.ip.ipv4Bits ^ cookie)
        case .ipv6:
            ip = IPAddress(
                ipv6: address.ip.high ^ (UInt64(cookie) &<< 32 | high &>> 32),
                address.ip.low ^ (high &<< 32 | UInt64(low))
            )
        }
        return SocketAddress(ip, port: address.port ^ UInt16(truncatingIfNeeded: cookie &>> 16))
    }
}

extension AddressFamily {
    /// The family of a number in attributes, `nil` for one that is not registered (RFC 8489 §14.1).
    public init?(attributeNumber: UInt8) {
        switch attributeNumber {
        case 1: self = .ipv4
        case 2: self = .ipv6
        default: return nil
        }
    }

    /// The number of the family in attributes: 1 or 2 (RFC 8489 §14.1).
    public var attributeNumber: UInt8 { self == .ipv4 ? 1 : 2 }
}
