import Bytes
import NetTypes
import STUN

/// Binding for clients that are older than the magic cookie (RFC 3489 §8.1, RFC 8489 §11); off unless asked for.
extension TURNServerEngine {
    /// Answers a Binding request of RFC 3489 with MAPPED-ADDRESS.
    ///
    /// Departure: requests with attributes get nothing. Those that matter, RESPONSE-ADDRESS above all, would send the
    /// answer to somebody else.
    mutating func receiveRFC3489(
        _ bytes: Span<UInt8>,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        if client.transport == .dtls { return refuseWithoutCookie(bytes, from: client, at: now) }
        guard configuration.answersRFC3489, client.transport == .udp, bytes.count == 20,
            bytes.bigEndianUInt32(at: 0) == 0x0001_0000, client.remote.family == .ipv4
        else { return ignore(.malformedSTUN) }
        counters.countRequest(.binding)
        guard bindings.take(client.remote.ip, at: now) else { return ignore(.bindingRateLimit) }
        let identifier = bytes.extracting(4..<20)
        let written = outbox.append(to: client, room: 32) { output in
            output.append(bigEndian: 0x0101 as UInt16)
            output.append(bigEndian: 12 as UInt16)
            output.append(contentsOf: identifier)
            output.append(bigEndian: AttributeType.mappedAddress.rawValue)
            output.append(bigEndian: 8 as UInt16)
            output.append(bigEndian: 1 as UInt16)
            output.append(bigEndian: client.remote.port)
            output.append(bigEndian: client.remote.ip.ipv4Bits)
            return true
        }
        if written { counters.successes &+= 1 } else { counters.countDrop(.outboxFull) }
        return .accepted
    }

    /// Answers a request that lacks the magic cookie, which over DTLS is always an error (RFC 8489 §11, turn 86).
    private mutating func refuseWithoutCookie(
        _ bytes: Span<UInt8>,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        let type = bytes.bigEndianUInt16(at: 0)
        guard bytes.count >= STUNFormat.headerByteCount, type & 0xC110 == 0,
            bytes.bigEndianUInt32(at: 4) != STUNFormat.magicCookie
        else { return ignore(.malformedSTUN) }
        guard unauthenticated.take(client.remote.ip, at: now) else { return ignore(.unauthenticatedRateLimit) }
        let identifier = bytes.extracting(4..<20)
        let reason = "Server Error"
        let written = outbox.append(to: client, room: 40) { output in
            output.append(bigEndian: type | 0x0110)
            output.append(bigEndian: 20 as UInt16)
            output.append(contentsOf: identifier)
            output.append(bigEndian: AttributeType.errorCode.rawValue)
            output.append(bigEndian: UInt16(4 + reason.utf8.count))
            output.append(bigEndian: 5 << 8 as UInt32)
            for byte in reason.utf8 { output.append(byte) }
            return true
        }
        if written { counters.countError(.serverError) } else { counters.countDrop(.outboxFull) }
        return .accepted
    }
}
