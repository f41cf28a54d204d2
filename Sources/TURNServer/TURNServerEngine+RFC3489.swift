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
}
