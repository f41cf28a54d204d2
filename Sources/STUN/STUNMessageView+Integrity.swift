import Bytes
import Crypto

/// What a look at a protecting attribute shows.
public enum ProtectionCheck: Hashable, Sendable {
    /// The attribute is absent.
    case absent
    /// It is there and right.
    case valid
    /// It is there and wrong: a false value, a false length, or a FINGERPRINT that is not last.
    case invalid
}

extension STUNMessageView {
    /// Whether MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 is there.
    public var hasIntegrity: Bool { layout.messageIntegrity != 0 || layout.messageIntegritySHA256 != 0 }

    /// Checks MESSAGE-INTEGRITY (RFC 8489 §14.5) in a time that does not tell where the values differ.
    public func checkMessageIntegrity(_ key: IntegrityKey) -> ProtectionCheck {
        guard let code = value(.messageIntegrity) else { return .absent }
        guard code.count == 20 else { return .invalid }
        return matches(code, key.sha1, at: layout.messageIntegrity) ? .valid : .invalid
    }

    /// Checks MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6) in a time that does not tell where the values differ.
    ///
    /// A value shorter than `minimumByteCount` is invalid; TURN demands all 32 bytes (turn 44).
    public func checkMessageIntegritySHA256(_ key: IntegrityKey, minimumByteCount: Int = 32) -> ProtectionCheck {
        guard let code = value(.messageIntegritySHA256) else { return .absent }
        guard (max(16, minimumByteCount)...32).contains(code.count), code.count & 3 == 0 else { return .invalid }
        return matches(code, key.sha256, at: layout.messageIntegritySHA256) ? .valid : .invalid
    }

    /// Checks the one attribute that RFC 8489 §9.2.4 tells a server to check: SHA-256 if it is there, else SHA-1.
    public func checkPreferredIntegrity(_ key: IntegrityKey, minimumByteCount: Int = 32) -> ProtectionCheck {
        guard layout.messageIntegritySHA256 == 0 else {
            return checkMessageIntegritySHA256(key, minimumByteCount: minimumByteCount)
        }
        return checkMessageIntegrity(key)
    }

    /// Checks FINGERPRINT (RFC 8489 §7, §14.7).
    public func checkFingerprint() -> ProtectionCheck {
        guard let value = value(.fingerprint) else { return .absent }
        let offset = layout.fingerprint
        guard value.count == 4, offset &+ 8 == bytes.count else { return .invalid }
        // It is the last attribute, so that the length in the header is the one that was summed.
        let checksum = CRC32.checksum(bytes.extracting(..<offset)) ^ Fingerprint.mask
        return checksum == value.bigEndianUInt32(at: 0) ? .valid : .invalid
    }

    /// Whether `code` begins the HMAC of the message up to `offset`, with the length up to the end of `code`.
    private func matches(_ code: Span<UInt8>, _ key: HMACKey, at offset: Int) -> Bool {
        let length = offset &+ STUNFormat.attributeHeaderByteCount &+ code.count &- STUNFormat.headerByteCount
        let header: InlineArray<4, UInt8> = [
            bytes[0], bytes[1], UInt8(truncatingIfNeeded: length &>> 8), UInt8(truncatingIfNeeded: length),
        ]
        var context = key.begin()
        context.update(header.span)
        context.update(bytes.extracting(4..<offset))
        let expected = context.finishInline()
        return constantTimeEqual(expected.span.extracting(..<code.count), code)
    }
}

/// FINGERPRINT's constant.
enum Fingerprint {
    /// What FINGERPRINT's checksum is XORed with: "STUN" in ASCII.
    static let mask: UInt32 = 0x5354_554E
}

extension HMACContext {
    /// The code in front of zeros, as 32 bytes on the stack.
    mutating func finishInline() -> InlineArray<32, UInt8> {
        InlineArray<32, UInt8>(initializingWith: { output in
            finish(into: &output)
            output.append(zeros: output.freeCapacity)
        })
    }
}
