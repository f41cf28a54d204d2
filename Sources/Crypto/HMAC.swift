import Bytes
import COpenSSL

/// The hash of an HMAC.
public enum HashAlgorithm: Sendable, Hashable, CaseIterable {
    /// SHA-1: 20 bytes.
    case sha1
    /// SHA-256: 32 bytes.
    case sha256

    /// How many bytes a digest or an untruncated HMAC has.
    public var digestByteCount: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        }
    }
}

/// An HMAC key (RFC 2104) with both of its hash states worked out already: a plain value of 68 bytes.
///
/// Keep one per credential: a message then costs about an eighth of an HMAC that starts from the key's bytes.
public struct HMACKey: Sendable {
    private let key: floe_hmac_key

    fileprivate init(_ key: floe_hmac_key) { self.key = key }

    /// Works out the states of a key of any length.
    public init(_ hash: HashAlgorithm, key: Span<UInt8>) {
        // The pointer lives for the call only and is bounded by the count.
        self.key = unsafe key.withUnsafeBufferPointer {
            unsafe floe_hmac_key_make(hash == .sha256 ? 1 : 0, $0.baseAddress, $0.count)
        }
    }

    /// Works out the states of a key of any length.
    public init(_ hash: HashAlgorithm, key: [UInt8]) { self.init(hash, key: key.span) }

    /// The hash that the key is for.
    public var hash: HashAlgorithm { key.isSHA256 == 0 ? .sha1 : .sha256 }

    /// Starts the authentication code of one message.
    public func begin() -> HMACContext { HMACContext(floe_hmac_begin(key)) }

    /// The authentication code of `message`.
    public func authenticationCode(for message: [UInt8]) -> [UInt8] {
        var context = begin()
        context.update(message.span)
        return context.finish()
    }

    /// Whether `code` is the whole authentication code of `message`; takes the same time wherever they differ.
    public func isValid(_ code: Span<UInt8>, for message: Span<UInt8>) -> Bool {
        var context = begin()
        context.update(message)
        return context.finish(equals: code)
    }

    /// Whether `code` is the whole authentication code of `message`; takes the same time wherever they differ.
    public func isValid(_ code: [UInt8], for message: [UInt8]) -> Bool { isValid(code.span, for: message.span) }
}

/// The HMAC keys of both hashes from the same bytes: a plain value of 104 bytes, for those who keep many.
public struct HMACKeyPair: Sendable {
    private let keys: floe_hmac_keys

    /// Works out the states of a key of any length.
    public init(_ key: Span<UInt8>) {
        // The pointer lives for the call only and is bounded by the count.
        keys = unsafe key.withUnsafeBufferPointer { unsafe floe_hmac_keys_make($0.baseAddress, $0.count) }
    }

    /// The key of HMAC-SHA1.
    public var sha1: HMACKey { HMACKey(floe_hmac_keys_sha1(keys)) }
    /// The key of HMAC-SHA256.
    public var sha256: HMACKey { HMACKey(floe_hmac_keys_sha256(keys)) }
}

extension HMACKeyPair: CustomReflectable {
    /// Shows nothing, so that no dump of a value that holds the keys can show them.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension HMACKey: CustomStringConvertible, CustomReflectable {
    /// Names the hash; never the key.
    public var description: String { "HMACKey(\(hash))" }
    /// Shows nothing, so that no dump of a value that holds the key can show it.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// An HMAC over the parts of one message.
///
/// Finish it once. It makes no allocation unless an array is asked for.
public struct HMACContext: Sendable {
    private var state: floe_hmac

    fileprivate init(_ state: floe_hmac) { self.state = state }

    /// How many bytes the authentication code has: 20 or 32.
    public var byteCount: Int { state.isSHA256 == 0 ? 20 : 32 }

    /// Adds the next part of the message.
    public mutating func update(_ bytes: Span<UInt8>) {
        // The pointer lives for the call only and is bounded by the count.
        unsafe bytes.withUnsafeBufferPointer { unsafe floe_hmac_update(&state, $0.baseAddress, $0.count) }
    }

    /// Appends the authentication code; the free capacity must be at least `byteCount`.
    public mutating func finish(into output: inout OutputSpan<UInt8>) {
        let code = code()
        output.append(contentsOf: code.span.extracting(..<byteCount))
    }

    /// The authentication code as an array.
    public mutating func finish() -> [UInt8] {
        let code = code()
        return (0..<byteCount).map { code[$0] }
    }

    /// Whether the authentication code is `code`, all of it; takes the same time wherever they differ.
    public mutating func finish(equals code: Span<UInt8>) -> Bool {
        let expected = self.code()
        return constantTimeEqual(expected.span.extracting(..<byteCount), code)
    }

    private mutating func code() -> InlineArray<32, UInt8> {
        var code = InlineArray<32, UInt8>(repeating: 0)
        var output = code.mutableSpan
        // 32 bytes are room for either hash.
        unsafe output.withUnsafeMutableBufferPointer { unsafe floe_hmac_finish(&state, $0.baseAddress) }
        return code
    }
}

/// Whether both spans hold the same bytes, in a time that depends on their length only.
///
/// Spans of different length are unequal at once: the length of a code or a digest is no secret.
public func constantTimeEqual(_ first: Span<UInt8>, _ second: Span<UInt8>) -> Bool {
    guard first.count == second.count else { return false }
    // Both pointers live for the call only; the counts were compared above.
    return unsafe first.withUnsafeBufferPointer { first in
        unsafe second.withUnsafeBufferPointer { second in
            unsafe CRYPTO_memcmp(first.baseAddress, second.baseAddress, first.count) == 0
        }
    }
}

/// Whether both arrays hold the same bytes, in a time that depends on their length only.
public func constantTimeEqual(_ first: [UInt8], _ second: [UInt8]) -> Bool {
    constantTimeEqual(first.span, second.span)
}
