import Bytes
import CommandLineSupport
import Crypto
import NetTypes
import STUN
import Store
import WebService

/// The commands that change what a server's store holds: users and keys, without their being seen on a command line.
enum StoreCommands {
    private static let state = OptionSpecification(
        "state",
        "DIRECTORY",
        standard: "$XDG_DATA_HOME/floe or ~/.local/share/floe",
        help: "the server's state directory"
    )
    private static let realm = OptionSpecification("realm", "REALM", standard: "floe", help: "the server's realm")
    private static let notes = "A server that runs takes the change on SIGHUP."

    static let specifications = [
        CommandSpecification(
            "user add",
            "Add a TURN user to the server's store, or change its password.",
            [
                (
                    "Options",
                    [
                        state, realm,
                        OptionSpecification(
                            "password-file",
                            "FILE",
                            help: "its first line is the password (default: one is made and printed)"
                        ),
                    ]
                )
            ],
            operand: ("NAME", "the user's name"),
            notes: notes
        ),
        CommandSpecification(
            "user remove",
            "Remove a TURN user from the server's store.",
            [("Options", [state, realm])],
            operand: ("NAME", "the user's name"),
            notes: notes
        ),
        CommandSpecification("user list", "List the TURN users of the server's store.", [("Options", [state])]),
        CommandSpecification(
            "key add",
            "Make a key that may fetch TURN credentials at /turn, and print it.",
            [("Options", [state])],
            operand: ("LABEL", "what the key is called"),
            notes: notes
        ),
        CommandSpecification(
            "key remove",
            "Remove the keys of that label.",
            [("Options", [state])],
            operand: ("LABEL", "what the key is called"),
            notes: notes
        ),
        CommandSpecification("key list", "List the keys of the server's store.", [("Options", [state])]),
    ]

    /// Runs one of them and returns what it prints.
    static func run(_ name: String, _ arguments: ParsedArguments) throws(UsageError) -> String {
        let subject = arguments.operand ?? ""
        guard !subject.isEmpty || name.hasSuffix("list") else {
            throw UsageError("'\(name)' needs a name: floe \(name) \(name.hasPrefix("user") ? "NAME" : "LABEL").")
        }
        let state = try StateDirectory(arguments.text("state"))
        do {
            let store = try Database(path: state.database)
            switch name {
            case "user add": return try addUser(subject, arguments, store)
            case "user remove":
                let realm = arguments.text("realm") ?? "floe"
                guard try store.removeUser(named: subject, realm: realm) else {
                    throw UsageError("There is no user '\(subject)' of the realm '\(realm)'; see 'floe user list'.")
                }
                return ""
            case "user list":
                return try store.users().map { "\($0.name)\t\($0.realm)\n" }.joined()
            case "key add": return try addKey(subject, store)
            case "key remove":
                guard try store.removeAPIKeys(labelled: subject) else {
                    throw UsageError("There is no key '\(subject)'; see 'floe key list'.")
                }
                return ""
            default: return try store.apiKeys().map { "\($0.label)\n" }.joined()
            }
        } catch {
            throw error as? UsageError ?? UsageError("\(error)")
        }
    }

    private static func addUser(
        _ name: String,
        _ arguments: ParsedArguments,
        _ store: borrowing Database
    ) throws -> String {
        let realm = arguments.text("realm") ?? "floe"
        let password: String
        var output = ""
        if let path = arguments.text("password-file") {
            guard let first = try Secrets.lines(path, option: "--password-file").first else {
                throw UsageError("'\(path)' of '--password-file' is empty: its first line is the password.")
            }
            password = first.text
        } else {
            var entropy = Entropy.system
            password = Base64.encode(entropy.bytes(18), .url)
            output = password + "\n"
        }
        guard !name.contains(":") else { throw UsageError("A user's name has no colon: '\(name)'.") }
        do {
            let prepared = try LongTermCredentials(username: name, realm: realm, password: password)
            try store.save(
                UserRecord(
                    name: prepared.username,
                    realm: realm,
                    md5Key: LongTermCredentials.keyBytes(.md5, username: name, realm: realm, password: password),
                    sha256Key: LongTermCredentials.keyBytes(.sha256, username: name, realm: realm, password: password)
                )
            )
        } catch let error as CredentialError {
            throw UsageError("The user '\(name)' cannot be used: \(error).")
        }
        return output
    }

    private static func addKey(_ label: String, _ store: borrowing Database) throws -> String {
        guard try !store.apiKeys().contains(where: { $0.label == label }) else {
            throw UsageError("There is a key '\(label)' already: choose another label, or remove that one first.")
        }
        var entropy = Entropy.system
        let key = Base64.encode(entropy.bytes(24), .url)
        try store.save(APIKeyRecord(digest: MessageDigest.sha256(Array(key.utf8)), label: label))
        return key + "\n"
    }
}
