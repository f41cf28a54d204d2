import CommandLineSupport
import Crypto
import STUN
import Store
import TURN
import WebService

/// Everything by which clients prove who they are, from the command line, files and the store.
struct Secrets {
    /// How many secrets of ephemeral credentials there may be: a name that a stranger shows is tried with each.
    static let sharedLimit = 16

    /// The secrets of ephemeral credentials; those that Floe hands out are made with the first.
    let shared: [String]
    /// How many of the first are the state's own.
    let ownCount: Int
    /// Users with fixed passwords.
    let users: [LongTermCredentials]
    /// The keys of access tokens.
    let tokenKeys: [AccessTokenKey]
    /// SHA-256 digests of the keys for `/turn`, in hexadecimal.
    let apiKeyDigests: Set<String>

    /// Reads all of them.
    ///
    /// - Throws: a sentence about the first thing that is wrong.
    init(_ options: ServeOptions, _ state: StateDirectory, _ store: borrowing Database) throws(UsageError) {
        let own = try state.turnSecrets()
        var shared = own + options.secrets
        for path in options.secretFiles {
            for (number, line) in try Self.lines(path, option: "--secret-file") {
                guard line.utf8.count >= 16 else {
                    throw UsageError("'\(path)', line \(number): a secret has at least 16 characters.")
                }
                shared.append(line)
            }
        }
        shared = shared.enumerated().filter { !shared[..<$0.offset].contains($0.element) }.map(\.element)
        guard shared.count <= Self.sharedLimit else {
            throw UsageError(
                "There are \(shared.count) secrets of ephemeral credentials, at most \(Self.sharedLimit) are tried: "
                    + "remove old ones from '--secret', '--secret-file' or '\(state.secretPath)'."
            )
        }
        self.shared = shared
        ownCount = own.count
        users = try Self.users(options, store)
        tokenKeys = try Self.tokenKeys(options)
        apiKeyDigests = try Self.apiKeys(options, store)
    }

    private static func users(
        _ options: ServeOptions,
        _ store: borrowing Database
    ) throws(UsageError)
        -> [LongTermCredentials]
    {
        var given = options.users
        for path in options.userFiles {
            for (number, line) in try lines(path, option: "--user-file") {
                guard let user = ServeOptions.StaticUser(line) else {
                    throw UsageError("'\(path)', line \(number), is not NAME:PASSWORD.")
                }
                given.append(user)
            }
        }
        var users: [LongTermCredentials] = []
        for user in given {
            do throws(CredentialError) {
                users.append(
                    try LongTermCredentials(username: user.name, realm: options.realm, password: user.password)
                )
            } catch {
                throw UsageError("The user '\(user.name)' cannot be used: \(error).")
            }
        }
        users += try storedUsers(options, store)
        var names: Set<String> = []
        for user in users where !names.insert(user.username).inserted {
            throw UsageError(
                "The user '\(user.username)' is given twice: keep one, see '--user', '--user-file', 'floe user list'."
            )
        }
        return users
    }

    private static func storedUsers(
        _ options: ServeOptions,
        _ store: borrowing Database
    ) throws(UsageError)
        -> [LongTermCredentials]
    {
        let records: [UserRecord]
        do throws(StoreError) { records = try store.users() } catch { throw UsageError("\(error)") }
        var users: [LongTermCredentials] = []
        for record in records where record.realm == options.realm {
            do throws(CredentialError) {
                users.append(
                    try LongTermCredentials(
                        username: record.name,
                        realm: record.realm,
                        md5Key: record.md5Key,
                        sha256Key: record.sha256Key
                    )
                )
            } catch {
                throw UsageError("The stored user '\(record.name)' cannot be used: \(error).")
            }
        }
        return users
    }

    private static func tokenKeys(_ options: ServeOptions) throws(UsageError) -> [AccessTokenKey] {
        var keys: [AccessTokenKey] = []
        for path in options.tokenKeyFiles {
            for key in try AccessTokenFile.keys(path) {
                guard !keys.contains(where: { $0.id == key.id }) else {
                    throw UsageError("'\(path)' has a key '\(key.id)', which another '--oauth-key-file' has too.")
                }
                keys.append(key)
            }
        }
        return keys
    }

    private static func apiKeys(_ options: ServeOptions, _ store: borrowing Database) throws(UsageError) -> Set<String>
    {
        var keys = options.apiKeys
        for path in options.apiKeyFiles {
            for (number, line) in try lines(path, option: "--api-key-file") {
                guard line.utf8.count >= 16 else {
                    throw UsageError("'\(path)', line \(number): a key has at least 16 characters.")
                }
                keys.append(line)
            }
        }
        do throws(StoreError) {
            let stored = try store.apiKeys().map { APIKey.text($0.digest) }
            return Set(keys.map { APIKey.digest($0) } + stored)
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// The lines of a private file with their numbers, without empty ones and those that begin with `#`.
    static func lines(_ path: String, option: String) throws(UsageError) -> [(number: Int, text: String)] {
        let bytes = try PrivateFile.secret(path, option: option)
        guard let text = String(validating: bytes, as: UTF8.self), !text.unicodeScalars.contains("\0") else {
            throw UsageError("'\(path)' of '\(option)' is not a text: it takes lines in UTF-8.")
        }
        return text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated()
            .map { ($0.offset + 1, $0.element.trimmed) }
            .filter { !$0.1.isEmpty && !$0.1.hasPrefix("#") }
    }
}

extension Substring {
    /// Without white space on both ends.
    var trimmed: String {
        var rest = drop(while: \.isWhitespace)
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return String(rest)
    }
}
