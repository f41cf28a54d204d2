import Bytes
import Crypto

/// A key for `/turn`, kept as its digest.
public enum APIKey {
    /// The SHA-256 digest of the key in hexadecimal.
    public static func digest(_ key: String) -> String { Hex.encode(MessageDigest.sha256(Array(key.utf8))) }
}
