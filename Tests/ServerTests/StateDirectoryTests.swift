import CommandLineSupport
import Crypto
import EventLoop
import Glibc
import NetTypes
import ServiceTestSupport
import Testing

@testable import Server

@Suite struct StateDirectoryTests {
    private let folder: TemporaryFolder
    private let now = WallClock.unixSeconds()
    private let addresses = [IPAddress.loopback(.ipv4), IPAddress.loopback(.ipv6)]

    init() throws { folder = try TemporaryFolder() }

    private var path: String { folder.path + "/state" }

    @Test func `the directory is made with those above it, for its owner only`() throws {
        let mask = umask(0)
        defer { umask(mask) }
        let state = try StateDirectory(folder.path + "/a/b")
        #expect(state.path == folder.path + "/a/b")
        #expect(try folder.mode(of: "a") == 0o700 && folder.mode(of: "a/b") == 0o700)
        #expect(state.database == state.path + "/floe.sqlite")
    }

    @Test func `a directory that exists is taken as it is`() throws {
        try folder.setMode(0o755, of: ".")
        _ = try StateDirectory(folder.path)
        #expect(try folder.mode(of: ".") == 0o755)
    }

    @Test func `a path that is a file is refused with a sentence`() throws {
        try folder.write("", to: "file")
        let file = folder.path + "/file"
        #expect(
            throws: UsageError(
                "Cannot make the state directory '\(file)/state': not a directory. Choose another with --state."
            )
        ) { try StateDirectory(file + "/state") }
        #expect(throws: UsageError.self) { try StateDirectory(file) }
    }

    // MARK: The secret

    @Test func `the secret is made once and kept for its owner only`() throws {
        let state = try StateDirectory(path)
        let secret = try #require(try state.turnSecrets().first)
        #expect(secret.utf8.count == 43)
        #expect(secret.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
        #expect(try folder.mode(of: "state/turn-secret") == 0o600)
        #expect(try state.turnSecrets() == [secret])
        #expect(try StateDirectory(path).turnSecrets() == [secret])
        let other = try StateDirectory(folder.path + "/other").turnSecrets().first
        #expect(other != secret)
        #expect(folder.names == ["other", "state"])
    }

    @Test(arguments: [
        ("an operator's own secret\n", ["an operator's own secret"]),
        ("  \n0123456789abcdef\r\n", ["0123456789abcdef"]),
        ("0123456789abcdef\n\n the one before this \n", ["0123456789abcdef", "the one before this"]),
    ])
    func `the secret may be the operator's own, and those of before may follow it (turn 207)`(
        content: String,
        secrets: [String]
    ) throws {
        let state = try StateDirectory(path)
        try folder.write(content, to: "state/turn-secret")
        #expect(try state.turnSecrets() == secrets)
    }

    @Test(arguments: ["", "\n", "short\n", "short\n0123456789abcdef\n", "0123456789abcdef\nshort\n"])
    func `a secret that is none is refused, and stays`(content: String) throws {
        let state = try StateDirectory(path)
        try folder.write(content, to: "state/turn-secret")
        #expect(
            throws: UsageError(
                "'\(path)/turn-secret' holds no secret of at least 16 characters; remove it to have a new one made."
            )
        ) { try state.turnSecrets() }
        #expect(folder.read("state/turn-secret") == content)
    }

    @Test func `a file that is much too long is refused`() throws {
        let state = try StateDirectory(path)
        try folder.write(String(repeating: "a", count: 5000), to: "state/turn-secret")
        #expect(throws: UsageError("'\(path)/turn-secret' is longer than 4096 bytes; is it the right file?")) {
            try state.turnSecrets()
        }
    }

    // MARK: The certificate

    @Test func `the certificate is made once and kept`() throws {
        let state = try StateDirectory(path)
        let identity = try state.ownIdentity(for: addresses, now: now)
        #expect(identity.dnsNames == ["localhost"])
        #expect(identity.ipAddresses == addresses)
        #expect(!identity.isExpired(at: Int64(now) + 800 * 86400) && !identity.isNotYetValid(at: Int64(now)))
        // Browsers take no certificate that is good for longer (825 days).
        #expect(identity.notAfter - identity.notBefore <= 825 * 86400)
        #expect(try folder.mode(of: "state/floe-key.pem") == 0o600)
        #expect(try folder.mode(of: "state/floe-certificate.pem") == 0o600)
        #expect(try state.ownIdentity(for: addresses, now: now).fingerprintSHA256 == identity.fingerprintSHA256)
        let later = now + 700 * 86400
        #expect(try state.ownIdentity(for: addresses, now: later).fingerprintSHA256 == identity.fingerprintSHA256)
    }

    @Test func `a certificate with less than thirty days left is made anew`() throws {
        let state = try StateDirectory(path)
        let old = try state.ownIdentity(for: addresses, now: now)
        let late = UInt64(old.notAfter) - 30 * 86400
        #expect(try state.ownIdentity(for: addresses, now: late).fingerprintSHA256 == old.fingerprintSHA256)
        let fresh = try state.ownIdentity(for: addresses, now: late + 1)
        #expect(fresh.fingerprintSHA256 != old.fingerprintSHA256)
        #expect(fresh.notAfter > old.notAfter)
        #expect(try state.ownIdentity(for: addresses, now: late + 1).fingerprintSHA256 == fresh.fingerprintSHA256)
        #expect(folder.read("state/floe-certificate.pem") == fresh.certificatePEM)
    }

    @Test func `a certificate that lacks a name or an address of now is made anew, and only then`() throws {
        let state = try StateDirectory(path)
        let old = try state.ownIdentity(for: addresses, now: now)
        let named = try state.ownIdentity(for: addresses, names: ["Call.example.org"], now: now)
        #expect(named.dnsNames == ["localhost", "call.example.org"])
        #expect(named.fingerprintSHA256 != old.fingerprintSHA256)
        let fewer = try state.ownIdentity(for: [], now: now)
        #expect(fewer.fingerprintSHA256 == named.fingerprintSHA256)
        let more = try state.ownIdentity(for: addresses + [IPAddress(ipv4: 0xC000_0263)], now: now)
        #expect(more.fingerprintSHA256 != named.fingerprintSHA256)
    }

    @Test func `a directory that holds other things is refused and left as it is`() throws {
        try folder.write("mine", to: "certificate.pem")
        let error = #expect(throws: UsageError.self) { try StateDirectory(folder.path) }
        #expect(error?.description.contains("holds other things than Floe's state") == true)
        #expect(folder.read("certificate.pem") == "mine")
        #expect(folder.read("lock") == nil)
    }

    @Test(arguments: ["floe-certificate.pem", "floe-key.pem"])
    func `a certificate whose other half is missing is made anew`(name: String) throws {
        let state = try StateDirectory(path)
        let old = try state.ownIdentity(for: addresses, now: now)
        try folder.remove("state/\(name)")
        let fresh = try state.ownIdentity(for: addresses, now: now)
        #expect(fresh.fingerprintSHA256 != old.fingerprintSHA256)
        #expect(try state.ownIdentity(for: addresses, now: now).fingerprintSHA256 == fresh.fingerprintSHA256)
    }

    @Test(arguments: ["floe-certificate.pem", "floe-key.pem"])
    func `a damaged certificate of our own is made anew`(name: String) throws {
        let state = try StateDirectory(path)
        let old = try state.ownIdentity(for: addresses, now: now)
        try folder.write("damage", to: "state/\(name)")
        let fresh = try state.ownIdentity(for: addresses, now: now)
        #expect(fresh.fingerprintSHA256 != old.fingerprintSHA256)
        #expect(folder.read("state/floe-certificate.pem") == fresh.certificatePEM)
        #expect(folder.read("state/floe-key.pem") == fresh.privateKeyPEM)
    }

    @Test func `a key that is another certificate's, as a crash may leave it, is replaced with its certificate`() throws
    {
        let state = try StateDirectory(path)
        let old = try state.ownIdentity(for: addresses, now: now)
        let other = try StateDirectory(folder.path + "/other").ownIdentity(for: addresses, now: now)
        try folder.write(other.privateKeyPEM, to: "state/floe-key.pem")
        let fresh = try state.ownIdentity(for: addresses, now: now)
        #expect(![old.fingerprintSHA256, other.fingerprintSHA256].contains(fresh.fingerprintSHA256))
    }

    @Test func `the operator's files are named where they are wrong`() throws {
        let made = try StateDirectory(path).ownIdentity(for: addresses, now: now)
        let (chain, key) = (path + "/floe-certificate.pem", path + "/floe-key.pem")
        let read = try StateDirectory.identity(chain: chain, key: key)
        #expect(read.fingerprintSHA256 == made.fingerprintSHA256)
        #expect(throws: UsageError("There is no certificate file '/nowhere.pem'.")) {
            try StateDirectory.identity(chain: "/nowhere.pem", key: key)
        }
        #expect(throws: UsageError("There is no key file '/nowhere.pem'.")) {
            try StateDirectory.identity(chain: chain, key: "/nowhere.pem")
        }
        let error = #expect(throws: UsageError.self) { try StateDirectory.identity(chain: key, key: chain) }
        #expect(error?.description.hasPrefix("Cannot use '\(key)' and '\(chain)': ") == true)
        #expect(throws: UsageError("Cannot read '\(path)': is a directory.")) {
            try StateDirectory.identity(chain: path, key: key)
        }
    }

    @Test func `a file is replaced whole, also where an attempt was cut off`() throws {
        try folder.write("the old one", to: "file")
        try folder.write("a longer rest of an attempt", to: "file.new")
        try folder.setMode(0o644, of: "file.new")
        try PrivateFile.write(Array("new".utf8), to: folder.path + "/file")
        #expect(folder.read("file") == "new")
        #expect(try folder.mode(of: "file") == 0o600)
        #expect(folder.names == ["file"])
    }
}
