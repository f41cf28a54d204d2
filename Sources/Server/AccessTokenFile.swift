import Bytes
import CommandLineSupport
import FoundationEssentials
import STUN

/// A long-term key of RFC 7635 as it stands in a file: the JSON of §4.1.1, so that an authorization server's answer can
/// be kept as it came.
struct AccessTokenKeyEntry: Codable {
    /// The key in base64 or base64url.
    let k: String
    /// From when on it is not valid any more, in seconds since 1970.
    let exp: UInt64?
    /// The name of the key.
    let kid: String
    /// How tokens are encrypted; A256GCM if it is absent.
    let enc: String?
}

/// What an authorization server gives a client, as JSON (RFC 7635 Appendix B).
struct AccessGrantEntry: Codable {
    /// The token in base64.
    let access_token: String
    /// Always `pop`: the client has to prove that it has the key.
    let token_type: String?
    /// For how many seconds the token is good.
    let expires_in: UInt32?
    /// The name of the key that the token was made with.
    let kid: String
    /// The session's key in base64.
    let key: String
    /// What the session's key is for.
    let alg: String?
}

/// Reads the files of third-party authorization.
enum AccessTokenFile {
    /// The keys in a file: one JSON object, or an array of them.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func keys(_ path: String, option: String = "--oauth-key-file") throws(UsageError) -> [AccessTokenKey] {
        let bytes = try PrivateFile.secret(path, option: option)
        let entries: [AccessTokenKeyEntry]
        do {
            entries = try decode([AccessTokenKeyEntry].self, bytes) ?? [decodeOne(AccessTokenKeyEntry.self, bytes)]
        } catch {
            throw UsageError(
                "'\(path)' of '\(option)' is not JSON of the form {\"kid\": …, \"k\": …, \"enc\": \"A256GCM\"}, or an array "
                    + "of that: make one with 'floe token key'."
            )
        }
        guard !entries.isEmpty else { throw UsageError("'\(path)' of '\(option)' holds no key.") }
        var keys: [AccessTokenKey] = []
        for entry in entries {
            let key = try key(entry, path)
            guard !keys.contains(where: { $0.id == key.id }) else {
                throw UsageError("'\(path)' has two keys of the name '\(key.id)': give each a name of its own.")
            }
            keys.append(key)
        }
        return keys
    }

    private static func key(_ entry: AccessTokenKeyEntry, _ path: String) throws(UsageError) -> AccessTokenKey {
        guard let algorithm = AccessTokenKey.Algorithm(rawValue: entry.enc ?? "A256GCM") else {
            let names = AccessTokenKey.Algorithm.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("Key '\(entry.kid)' in '\(path)' has an unknown \"enc\": it takes one of \(names).")
        }
        guard let bytes = base64(entry.k), bytes.count == algorithm.keyByteCount else {
            throw UsageError(
                "Key '\(entry.kid)' in '\(path)' has no \(algorithm.keyByteCount) bytes of base64 in \"k\", "
                    + "as \(algorithm.rawValue) needs them."
            )
        }
        do throws(CredentialError) {
            return try AccessTokenKey(id: entry.kid, key: bytes, algorithm: algorithm, expiryUnixSeconds: entry.exp)
        } catch {
            throw UsageError("Key '\(entry.kid)' in '\(path)' cannot be used: \(error).")
        }
    }

    /// The token that a client was given.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func grant(_ path: String, option: String) throws(UsageError) -> (AccessGrant, seconds: UInt32?) {
        let bytes = try PrivateFile.secret(path, option: option)
        guard let entry = try? decodeOne(AccessGrantEntry.self, bytes), let token = base64(entry.access_token),
            let key = base64(entry.key)
        else {
            throw UsageError(
                "'\(path)' of '\(option)' is not JSON with \"access_token\", \"kid\" and \"key\", the first and the last in "
                    + "base64: it takes what 'floe token mint' prints."
            )
        }
        do throws(CredentialError) {
            return (try AccessGrant(keyID: entry.kid, token: token, macKey: key), entry.expires_in)
        } catch {
            throw UsageError("The token in '\(path)' cannot be used: \(error).")
        }
    }

    /// The bytes of base64 in either alphabet.
    static func base64(_ text: String) -> [UInt8]? { Base64.decode(text) ?? Base64.decode(text, .url) }

    static func text(_ value: some Encodable) throws(UsageError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(value) else { throw UsageError("The result cannot be written as JSON.") }
        return String(decoding: json, as: UTF8.self) + "\n"
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) -> Value? {
        try? JSONDecoder().decode(type, from: Data(bytes))
    }

    private static func decodeOne<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }
}
