import Bytes
import CommandLineSupport
import Crypto
import EventLoop
import Glibc
import NetTypes

/// What a server keeps between two starts: its certificate, its TURN secret and its database.
struct StateDirectory {
    /// Where it is.
    let path: String

    /// Opens or makes the directory; without `path`, that of the user's data.
    ///
    /// - Throws: a sentence, if it cannot be made or written.
    init(_ path: String?) throws(UsageError) {
        if let path { self.path = path } else { self.path = try Self.standard() }
        let isOurs = Self.names.contains { PrivateFile.exists(self.path + "/" + $0) }
        guard isOurs || PrivateFile.isEmpty(self.path) else {
            throw UsageError(
                "The directory '\(self.path)' holds other things than Floe's state: name an empty one, or a new one, "
                    + "with --state."
            )
        }
        try PrivateFile.makeDirectory(self.path)
    }

    /// The files by which a directory is known to be Floe's.
    private static let names = ["lock", secretName, "floe.sqlite", "floe-certificate.pem", "floe-key.pem"]

    /// The secret of the server whose state is in the directory; nothing is made or changed.
    ///
    /// - Throws: a sentence, if there is none.
    static func existingSecret(_ path: String?) throws(UsageError) -> String {
        let directory: String
        if let path { directory = path } else { directory = try standard() }
        let file = directory + "/" + secretName
        guard let secret = try secrets(in: file)?.first else {
            throw UsageError(
                "There is no '\(file)': name the state directory of a server that has run with --state, "
                    + "or its secret with --secret."
            )
        }
        return secret
    }

    /// Keeps other servers out of the directory for as long as the result lives.
    ///
    /// - Throws: a sentence, if another server has it.
    func lock() throws(UsageError) -> Descriptor {
        guard let lock = try PrivateFile.lock(path + "/lock") else {
            throw UsageError(
                "The state directory '\(path)' is in use by another server: stop that one, or choose another with --state."
            )
        }
        return lock
    }

    private static func standard() throws(UsageError) -> String {
        func variable(_ name: String) -> String? {
            // The environment's strings are not changed by this program.
            unsafe getenv(name).map { unsafe String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        if let data = variable("XDG_DATA_HOME") { return data + "/floe" }
        guard let home = variable("HOME") else {
            throw UsageError("There is no HOME to keep the state in: name a directory with --state.")
        }
        return home + "/.local/share/floe"
    }

    /// The path of the SQLite file.
    var database: String { path + "/floe.sqlite" }
    /// The path of the certificate that Floe made.
    var certificatePath: String { path + "/floe-certificate.pem" }
    private var keyPath: String { path + "/floe-key.pem" }
    var secretPath: String { path + "/" + Self.secretName }
    private static let secretName = "turn-secret"

    /// The secrets of ephemeral TURN credentials, one in a line: new ones are made with the first, the others are still
    /// taken.
    ///
    /// At first use, one of 43 characters of base64url is made.
    ///
    /// - Throws: a sentence, if the file cannot be read or written, or holds something else.
    func turnSecrets() throws(UsageError) -> [String] {
        if let secrets = try Self.secrets(in: secretPath) {
            PrivateFile.restrict(secretPath)
            return secrets
        }
        var entropy = Entropy.system
        let secret = Base64.encode(entropy.bytes(32), .url)
        try PrivateFile.write(Array((secret + "\n").utf8), to: secretPath)
        return [secret]
    }

    private static func secrets(in file: String) throws(UsageError) -> [String]? {
        guard let bytes = try PrivateFile.read(file, limit: 4096) else { return nil }
        let secrets = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map(\.trimmed)
            .filter { !$0.isEmpty }
        guard !secrets.isEmpty, secrets.allSatisfy({ $0.utf8.count >= 16 }) else {
            throw UsageError("'\(file)' holds no secret of at least 16 characters; remove it to have a new one made.")
        }
        return secrets
    }

    /// The certificate that Floe makes for itself: kept, and made anew when it has less than 30 days left, or
    /// lacks one of the names and addresses that the server now has.
    ///
    /// A pair that does not fit together, as a crash between the two files leaves it, is made anew as well: a server
    /// that does not start because of a certificate of its own making helps nobody.
    ///
    /// - Throws: a sentence, if a file cannot be read or written.
    func ownIdentity(for addresses: [IPAddress], names: [String] = [], now: UInt64) throws(UsageError) -> Identity {
        let names = ["localhost"] + names.map { $0.lowercased() }.filter { $0 != "localhost" }
        if let certificate = try PrivateFile.read(certificatePath), let key = try PrivateFile.read(keyPath) {
            PrivateFile.restrict(keyPath)
            let identity = try? Self.identity(certificate, key, from: certificatePath)
            if let identity, !identity.isExpired(at: Int64(now) + 30 * 86400),
                Set(identity.dnsNames).isSuperset(of: names), Set(identity.ipAddresses).isSuperset(of: addresses)
            {
                return identity
            }
        }
        let made: Identity
        do {
            made = try Identity.selfSigned(
                commonName: "Floe",
                dnsNames: names,
                ipAddresses: addresses,
                validForDays: 825,
                notBefore: Int64(now) - 86400
            )
        } catch {
            throw UsageError("Cannot make a certificate: \(error).")
        }
        try PrivateFile.write(Array(made.privateKeyPEM.utf8), to: keyPath)
        try PrivateFile.write(Array(made.certificatePEM.utf8), to: certificatePath)
        return made
    }

    /// Reads the certificate and key that the operator named.
    ///
    /// - Throws: a sentence that names the file and the reason.
    static func identity(chain: String, key: String) throws(UsageError) -> Identity {
        guard let chainBytes = try PrivateFile.read(chain) else {
            throw UsageError("There is no certificate file '\(chain)'.")
        }
        guard let keyBytes = try PrivateFile.read(key) else { throw UsageError("There is no key file '\(key)'.") }
        return try identity(chainBytes, keyBytes, from: "\(chain)' and '\(key)")
    }

    private static func identity(_ chain: [UInt8], _ key: [UInt8], from names: String) throws(UsageError) -> Identity {
        do {
            return try Identity(
                certificatePEM: String(decoding: chain, as: UTF8.self),
                privateKeyPEM: String(decoding: key, as: UTF8.self)
            )
        } catch {
            throw UsageError("Cannot use '\(names)': \(error).")
        }
    }
}
