import Bytes
public import NetTypes
public import STUN

/// The attributes of RFC 8656, written; LIFETIME and CONNECTION-ID are plain 32-bit integers, DATA plain bytes.
extension STUNMessageBuilder {
    /// Appends CHANNEL-NUMBER.
    public mutating func append(_ channel: ChannelNumber, into output: inout OutputSpan<UInt8>) {
        append(.channelNumber, UInt32(channel.rawValue) &<< 16, into: &output)
    }

    /// Appends REQUESTED-TRANSPORT.
    public mutating func append(_ transport: RelayedTransport, into output: inout OutputSpan<UInt8>) {
        append(.requestedTransport, UInt32(transport.rawValue) &<< 24, into: &output)
    }

    /// Appends REQUESTED-ADDRESS-FAMILY.
    public mutating func append(requested family: AddressFamily, into output: inout OutputSpan<UInt8>) {
        append(.requestedAddressFamily, UInt32(family.attributeNumber) &<< 24, into: &output)
    }

    /// Appends ADDITIONAL-ADDRESS-FAMILY.
    public mutating func append(additional family: AddressFamily, into output: inout OutputSpan<UInt8>) {
        append(.additionalAddressFamily, UInt32(family.attributeNumber) &<< 24, into: &output)
    }

    /// Appends EVEN-PORT.
    public mutating func append(evenPortReservingNext reserve: Bool, into output: inout OutputSpan<UInt8>) {
        let value: InlineArray<1, UInt8> = [reserve ? 0x80 : 0]
        append(.evenPort, value.span, into: &output)
    }

    /// Appends RESERVATION-TOKEN.
    public mutating func append(_ token: ReservationToken, into output: inout OutputSpan<UInt8>) {
        append(.reservationToken, token.rawValue, into: &output)
    }

    /// Appends ADDRESS-ERROR-CODE, without a phrase to keep the answer small.
    public mutating func append(
        _ code: ErrorCode,
        for family: AddressFamily,
        into output: inout OutputSpan<UInt8>
    ) {
        append(.addressErrorCode, family: family, code, "", into: &output)
    }

    /// Appends ICMP.
    public mutating func append(_ report: ICMPReport, into output: inout OutputSpan<UInt8>) {
        let value = UInt64(report.type) &<< 40 | UInt64(report.code) &<< 32 | UInt64(report.errorData)
        append(.icmp, value, into: &output)
    }
}
