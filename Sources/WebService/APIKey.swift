import Bytes
import Crypto

/// A key for `/turn`, kept as its digest.
public enum APIKey {
    /// The SHA-256 digest of the key in hexadecimal.
    public static func digest(_ key: String) -> String { text(MessageDigest.sha256(Array(key.utf8))) }

    /// The hexadecimal form of a digest.
    public static func text(_ digest: [UInt8]) -> String { Hex.encode(digest) }
}
