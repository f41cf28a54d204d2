import COpenSSL

/// Message digests in one call: over a span without allocation, over an array with an array as the result.
public enum MessageDigest {
    /// The MD5 digest (RFC 1321); only for the long-term key of RFC 8489 §9.2.2, which demands it.
    public static func md5(_ bytes: Span<UInt8>) -> InlineArray<16, UInt8> {
        unsafe digest(bytes) { unsafe floe_md5($0, $1, $2) }
    }

    /// The MD5 digest (RFC 1321); only for the long-term key of RFC 8489 §9.2.2, which demands it.
    public static func md5(_ bytes: [UInt8]) -> [UInt8] { array(md5(bytes.span)) }

    /// The SHA-1 digest (FIPS 180-4); for protocols that demand it, such as RFC 6455 §4.2.2.
    public static func sha1(_ bytes: Span<UInt8>) -> InlineArray<20, UInt8> {
        unsafe digest(bytes) { unsafe floe_sha1($0, $1, $2) }
    }

    /// The SHA-1 digest (FIPS 180-4); for protocols that demand it, such as RFC 6455 §4.2.2.
    public static func sha1(_ bytes: [UInt8]) -> [UInt8] { array(sha1(bytes.span)) }

    /// The SHA-256 digest (FIPS 180-4).
    public static func sha256(_ bytes: Span<UInt8>) -> InlineArray<32, UInt8> {
        unsafe digest(bytes) { unsafe floe_sha256($0, $1, $2) }
    }

    /// The SHA-256 digest (FIPS 180-4).
    public static func sha256(_ bytes: [UInt8]) -> [UInt8] { array(sha256(bytes.span)) }

    /// The SHA-512 digest (FIPS 180-4).
    public static func sha512(_ bytes: Span<UInt8>) -> InlineArray<64, UInt8> {
        unsafe digest(bytes) { unsafe floe_sha512($0, $1, $2) }
    }

    /// The SHA-512 digest (FIPS 180-4).
    public static func sha512(_ bytes: [UInt8]) -> [UInt8] { array(sha512(bytes.span)) }

    private typealias Hash = (UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?) -> Void

    @inline(always)
    private static func digest<let count: Int>(_ bytes: Span<UInt8>, _ hash: Hash) -> InlineArray<count, UInt8> {
        var digest = InlineArray<count, UInt8>(repeating: 0)
        var output = digest.mutableSpan
        // Both pointers live for the call only; `count` is the digest's length in the callers above.
        unsafe bytes.withUnsafeBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer {
                unsafe hash(input.baseAddress, input.count, $0.baseAddress)
            }
        }
        return digest
    }

    private static func array<let count: Int>(_ digest: InlineArray<count, UInt8>) -> [UInt8] {
        digest.indices.map { digest[$0] }
    }
}
