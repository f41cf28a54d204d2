import Bytes
import Crypto
import NetTypes
import STUN
import Testing

@Suite struct ProtectionTests {
    private static let attributes = [STUNMessage.Attribute(.username, Array("alice".utf8))]

    @Test(arguments: [true, false])
    func `turn 43, 44: integrity holds under its key and no other`(_ fingerprint: Bool) throws {
        let bytes = try Messages.built(Self.attributes, protectedBy: .both(Messages.key), fingerprint: fingerprint)
        let view = try STUNMessageView(bytes.span)
        let right = [view.checkMessageIntegrity(Messages.key), view.checkMessageIntegritySHA256(Messages.key)]
        let wrong = [
            view.checkMessageIntegrity(Messages.otherKey), view.checkMessageIntegritySHA256(Messages.otherKey),
        ]
        #expect(right == [.valid, .valid])
        #expect(wrong == [.invalid, .invalid])
    }

    @Test func `no bit can be changed under either integrity attribute`() throws {
        for (protection, tail) in [(MessageProtection.sha1(Messages.key), 24), (.sha256(Messages.key), 36)] {
            let bytes = try Messages.built(Self.attributes, protectedBy: protection)
            var survivors = 0
            for bit in 0..<8 * bytes.count {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                guard let view = try? STUNMessageView(changed.span) else { continue }
                let check = view.checkPreferredIntegrity(Messages.key)
                if check == .valid { survivors += 1 }
                // The attribute's own type and length decide whether there is one at all.
                let isInOwnHeader = (bytes.count - tail..<bytes.count - tail + 4).contains(bit / 8)
                #expect(check != .absent || isInOwnHeader)
            }
            #expect(survivors == 0)
        }
    }

    @Test func `turn 38: no bit can be changed under FINGERPRINT`() throws {
        let bytes = try Messages.built(Self.attributes, fingerprint: true)
        for bit in 0..<8 * bytes.count {
            var changed = bytes
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            guard let view = try? STUNMessageView(changed.span) else { continue }
            let check = view.checkFingerprint()
            #expect(check != .valid)
        }
    }

    @Test func `turn 44: MESSAGE-INTEGRITY-SHA256 may be cut where the usage permits it, and never below 16 bytes`()
        throws
    {
        for count in 0...36 {
            let bytes = Self.truncated(to: count)
            let view = try STUNMessageView(bytes.span)
            let strict = view.checkMessageIntegritySHA256(Messages.key)
            let lenient = view.checkMessageIntegritySHA256(Messages.key, minimumByteCount: 0)
            let middling = view.checkMessageIntegritySHA256(Messages.key, minimumByteCount: 20)
            #expect(strict == (count == 32 ? .valid : .invalid))
            #expect(lenient == ([16, 20, 24, 28, 32].contains(count) ? .valid : .invalid))
            #expect(middling == ([20, 24, 28, 32].contains(count) ? .valid : .invalid))
        }
    }

    /// A message whose integrity is right for the length that it has.
    private static func truncated(to count: Int) -> [UInt8] {
        var bytes = Messages.raw([(.username, [97]), (.messageIntegritySHA256, [UInt8](repeating: 0, count: count))])
        var summed = Array(bytes[..<28])
        // The length up to the end of the value, as a sender of that many bytes would have summed it.
        summed[3] = UInt8(8 + 4 + count)
        let code = HMACKey(.sha256, key: Array("a key of the tests".utf8).span).authenticationCode(for: summed)
        for index in 0..<min(count, 32) { bytes[32 + index] = code[index] }
        return bytes
    }

    @Test(arguments: [0, 4, 16, 19, 21, 24, 32])
    func `turn 43: a MESSAGE-INTEGRITY of another length than 20 is invalid`(_ count: Int) throws {
        let bytes = Messages.raw([(.messageIntegrity, [UInt8](repeating: 0, count: count))])
        let check = try STUNMessageView(bytes.span).checkMessageIntegrity(Messages.key)
        #expect(check == .invalid)
    }

    @Test func `turn 65: MESSAGE-INTEGRITY-SHA256 is preferred, so that a good SHA-1 beside a bad one does not help`()
        throws
    {
        var bytes = try Messages.built(Self.attributes, protectedBy: .both(Messages.key))
        bytes[bytes.count - 1] ^= 1
        let view = try STUNMessageView(bytes.span)
        let (sha1, preferred) = (
            view.checkMessageIntegrity(Messages.key), view.checkPreferredIntegrity(Messages.key)
        )
        #expect(sha1 == .valid)
        #expect(preferred == .invalid)
    }

    @Test func `absent protection is told from wrong protection`() throws {
        let bytes = Messages.raw([])
        let view = try STUNMessageView(bytes.span)
        let checks = [
            view.checkMessageIntegrity(Messages.key), view.checkMessageIntegritySHA256(Messages.key),
            view.checkPreferredIntegrity(Messages.key), view.checkFingerprint(),
        ]
        #expect(checks == [.absent, .absent, .absent, .absent])
        let hasIntegrity = view.hasIntegrity
        #expect(!hasIntegrity)
    }
}
