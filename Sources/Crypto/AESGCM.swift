import Bytes
import COpenSSL

/// Authenticated encryption with AES in Galois/counter mode (RFC 5116 §5.1, §5.2): nonces of 12 bytes, tags of 16.
///
/// For control messages: each call makes a cipher of its own and gives it back.
public struct AESGCM: Sendable {
    /// How many bytes a nonce has.
    public static let nonceByteCount = 12
    /// How many bytes the tag behind the ciphertext has.
    public static let tagByteCount = 16

    private let key: [UInt8]

    /// Takes a key of 16 or 32 bytes; `nil` for any other.
    public init?(key: [UInt8]) {
        guard key.count == 16 || key.count == 32 else { return nil }
        self.key = key
    }

    /// The ciphertext with its tag behind it; `nil` if the nonce has not 12 bytes, or OpenSSL fails.
    ///
    /// The same nonce must never be used twice with one key.
    public func seal(_ plaintext: [UInt8], nonce: [UInt8], authenticating extra: [UInt8]) -> [UInt8]? {
        guard nonce.count == Self.nonceByteCount else { return nil }
        var output = [UInt8](repeating: 0, count: plaintext.count)
        var tag = [UInt8](repeating: 0, count: Self.tagByteCount)
        return Self.run(seals: true, key, nonce, extra, plaintext, &output, &tag) ? output + tag : nil
    }

    /// The plaintext; `nil` if anything was changed, or made with another key, nonce or `extra`.
    public func open(_ ciphertext: [UInt8], nonce: [UInt8], authenticating extra: [UInt8]) -> [UInt8]? {
        let count = ciphertext.count - Self.tagByteCount
        guard nonce.count == Self.nonceByteCount, count >= 0 else { return nil }
        var output = [UInt8](repeating: 0, count: count)
        var tag = Array(ciphertext[count...])
        return Self.run(seals: false, key, nonce, extra, Array(ciphertext[..<count]), &output, &tag) ? output : nil
    }

    private static func run(
        seals: Bool,
        _ key: [UInt8],
        _ nonce: [UInt8],
        _ extra: [UInt8],
        _ input: [UInt8],
        _ output: inout [UInt8],
        _ tag: inout [UInt8]
    ) -> Bool {
        // The arrays' storage lives through the call; output is as long as input, the tag has 16 bytes, the nonce 12.
        unsafe floe_aes_gcm(
            seals ? 1 : 0,
            key,
            key.count,
            nonce,
            extra,
            extra.count,
            input,
            input.count,
            &output,
            &tag
        ) == 1
    }
}

extension AESGCM: CustomReflectable {
    /// Shows nothing, so that no dump of a value that holds a key shows it.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
