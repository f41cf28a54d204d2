public import Bytes

/// The number of a channel: 0x4000 to 0x4FFF (RFC 8656 §12).
public struct ChannelNumber: RawRepresentable, Hashable, Sendable {
    /// The number as on the wire.
    public let rawValue: UInt16

    /// The numbers there are; 0x5000 to 0x7FFF, which RFC 5766 had as well, are reserved.
    public static let range: ClosedRange<UInt16> = 0x4000...0x4FFF

    /// The numbers that RFC 5766 §11 had, for clients from before RFC 8656.
    public static let legacyRange: ClosedRange<UInt16> = 0x4000...0x7FFE

    /// Takes a number; `nil` outside `range`.
    @inlinable
    public init?(rawValue: UInt16) {
        guard rawValue &>> 12 == 4 else { return nil }
        self.rawValue = rawValue
    }

    /// Takes a number of either range; `nil` outside `legacyRange`.
    public init?(legacyRawValue number: UInt16) {
        guard Self.legacyRange.contains(number) else { return nil }
        rawValue = number
    }
}

extension ChannelNumber: FlatKey {
    /// The number mixed with the seed.
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 { UInt64(rawValue).flatHash(seed: seed) }
}

extension ChannelNumber: CustomStringConvertible {
    /// The number in hexadecimal.
    public var description: String { "0x" + String(rawValue, radix: 16) }
}
