import Bytes
import CommandLineSupport
import EventLoop
import NetTypes
import STUN

/// The command `token`: an authorization server's work by hand, for tests and small installations (RFC 7635).
enum TokenCommand {
    static let specification = CommandSpecification(
        "token",
        "Make keys and access tokens of third-party authorization (RFC 7635), or read a token.",
        [
            (
                "Making a key",
                [
                    OptionSpecification(
                        "kid",
                        "NAME",
                        help: "the key's name; with several keys in the file, which to use"
                    ),
                    OptionSpecification(
                        "enc",
                        "ALGORITHM",
                        standard: "A256GCM",
                        help: "how tokens are encrypted: A256GCM or A128GCM"
                    ),
                ]
            ),
            (
                "Minting and reading a token",
                [
                    OptionSpecification("key-file", "FILE", help: "the key that the server has with --oauth-key-file"),
                    OptionSpecification("server-name", "NAME", help: "the server that the token is for"),
                    OptionSpecification("ttl", "SECONDS", standard: "3600", help: "how long the token is good"),
                    OptionSpecification("mac-key", "BASE64", help: "the session's key (default: 20 random bytes)"),
                    OptionSpecification("token", "BASE64", help: "the token to read"),
                ]
            ),
        ],
        operand: ("ACTION", "key, mint or read"),
        notes: """
            floe token key --kid north > key.json
            floe token mint --key-file key.json --server-name turn.example.org > token.json
            floe turn turn:turn.example.org --token-file token.json
            """
    )

    private struct Reading: Encodable {
        let kid: String
        let key: String
        let timestamp: UInt64
        let unixSeconds: UInt64
        let lifetime: UInt32
        let isValid: Bool
    }

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        switch arguments.operand {
        case "key": Console.print(try makeKey(arguments))
        case "mint": Console.print(try mint(arguments))
        case "read": Console.print(try read(arguments))
        case let other?: throw UsageError("'token' cannot '\(other)': it takes key, mint or read.")
        case nil: throw UsageError("'token' needs to know what to do: key, mint or read.")
        }
        return 0
    }

    static func makeKey(_ arguments: ParsedArguments) throws(UsageError) -> String {
        guard let kid = arguments.text("kid") else {
            throw UsageError("'token key' needs a name for the key: --kid NAME.")
        }
        let name = arguments.text("enc") ?? AccessTokenKey.Algorithm.a256gcm.rawValue
        guard let algorithm = AccessTokenKey.Algorithm(rawValue: name) else {
            let names = AccessTokenKey.Algorithm.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("'\(name)' is not right for '--enc': it takes one of \(names).")
        }
        var entropy = Entropy.system
        let bytes = entropy.bytes(algorithm.keyByteCount)
        do throws(CredentialError) {
            _ = try AccessTokenKey(id: kid, key: bytes, algorithm: algorithm)
        } catch {
            throw UsageError("'--kid' cannot be used: \(error).")
        }
        return try AccessTokenFile.text(
            AccessTokenKeyEntry(k: Base64.encode(bytes), exp: nil, kid: kid, enc: algorithm.rawValue)
        )
    }

    static func mint(_ arguments: ParsedArguments) throws(UsageError) -> String {
        let (key, serverName) = try keyAndServer(arguments)
        let ttl = try arguments.number("ttl", in: 1...31_536_000) ?? 3600
        var entropy = Entropy.system
        var macKey = entropy.bytes(20)
        if let text = arguments.text("mac-key") {
            guard let bytes = AccessTokenFile.base64(text) else {
                throw UsageError("'--mac-key' takes base64 of 20 to 64 bytes.")
            }
            macKey = bytes
        }
        guard
            let token = AccessToken(
                macKey: macKey,
                madeAtUnixSeconds: WallClock.unixSeconds(),
                lifetimeSeconds: UInt32(ttl)
            )
        else { throw UsageError("'--mac-key' takes base64 of 20 to 64 bytes.") }
        guard let sealed = key.seal(token, for: serverName, nonce: entropy.bytes(12)) else {
            throw UsageError("The token cannot be encrypted.")
        }
        return try AccessTokenFile.text(
            AccessGrantEntry(
                access_token: Base64.encode(sealed),
                token_type: "pop",
                expires_in: UInt32(ttl),
                kid: key.id,
                key: Base64.encode(macKey),
                alg: macKey.count > 20 ? "HMAC-SHA-256" : "HMAC-SHA-1"
            )
        )
    }

    static func read(_ arguments: ParsedArguments) throws(UsageError) -> String {
        let (key, serverName) = try keyAndServer(arguments)
        guard let text = arguments.text("token"), let bytes = AccessTokenFile.base64(text) else {
            throw UsageError("'token read' needs the token: --token BASE64.")
        }
        guard let token = key.open(bytes.span, for: serverName) else {
            throw UsageError(
                "The token was not made with key '\(key.id)' for the server '\(serverName)', or it was changed since."
            )
        }
        return try AccessTokenFile.text(
            Reading(
                kid: key.id,
                key: Base64.encode(token.macKey),
                timestamp: token.timestamp,
                unixSeconds: token.timestamp >> 16,
                lifetime: token.lifetimeSeconds,
                isValid: token.remainingSeconds(atUnixSeconds: WallClock.unixSeconds()) > 0
            )
        )
    }

    private static func keyAndServer(_ arguments: ParsedArguments) throws(UsageError) -> (AccessTokenKey, String) {
        guard let path = arguments.text("key-file") else { throw UsageError("'token' needs a key: --key-file FILE.") }
        guard let name = arguments.text("server-name") else {
            throw UsageError(
                "'token' needs the server's name, as THIRD-PARTY-AUTHORIZATION has it: --server-name NAME."
            )
        }
        let keys = try AccessTokenFile.keys(path, option: "--key-file")
        guard let kid = arguments.text("kid") else {
            guard keys.count == 1 else {
                throw UsageError("'\(path)' has \(keys.count) keys: name one with --kid.")
            }
            return (keys[0], name)
        }
        guard let key = keys.first(where: { $0.id == kid }) else {
            throw UsageError("There is no key '\(kid)' in '\(path)'.")
        }
        return (key, name)
    }
}
