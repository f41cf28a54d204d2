import Bytes
import Crypto

extension STUNMessageBuilder {
    /// Appends the HMAC of all that was written, under the length that the message has with it (RFC 8489 §14.5, §14.6).
    mutating func appendIntegrity(_ type: AttributeType, _ key: HMACKey, into output: inout OutputSpan<UInt8>) {
        let byteCount = type == .messageIntegrity ? 20 : 32
        let end = output.count
        guard begin(type, byteCount: byteCount, into: &output) else { return }
        setLength(addingBytes: byteCount, in: &output)
        var context = key.begin()
        context.update(output.span.extracting(start..<end))
        context.finish(into: &output)
    }

    /// Appends the checksum of all that was written, under the length that the message has with it (RFC 8489 §14.7).
    mutating func appendFingerprint(into output: inout OutputSpan<UInt8>) {
        let end = output.count
        guard begin(.fingerprint, byteCount: 4, into: &output) else { return }
        setLength(addingBytes: 4, in: &output)
        output.append(bigEndian: CRC32.checksum(output.span.extracting(start..<end)) ^ Fingerprint.mask)
    }

    /// Writes the length of the message, as it will be after so many bytes more, into the header.
    func setLength(addingBytes count: Int, in output: inout OutputSpan<UInt8>) {
        let length = output.count &- start &- STUNFormat.headerByteCount &+ count
        output[start &+ 2] = UInt8(truncatingIfNeeded: length &>> 8)
        output[start &+ 3] = UInt8(truncatingIfNeeded: length)
    }
}

extension MessageProtection {
    /// How many bytes the attributes need with their headers.
    var byteCount: Int {
        switch self {
        case .none: 0
        case .sha1: 24
        case .sha256: 36
        case .both: 60
        }
    }
}
