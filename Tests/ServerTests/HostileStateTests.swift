import CommandLineSupport
import Crypto
import FoundationEssentials
import Glibc
import NetTypes
import Testing

@testable import Server

/// What somebody else on the machine, or a crash, may have done to the state directory.
@Suite struct HostileStateTests {
    private let folder: String

    init() throws {
        folder = FileManager.default.temporaryDirectory.path + "/floe-state-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    }

    private func write(_ text: String, to name: String, mode: Int = 0o600) throws {
        try Data(text.utf8).write(to: URL(filePath: "\(folder)/\(name)"))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: "\(folder)/\(name)")
    }

    private func content(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(folder)/\(name)").map { String(decoding: $0, as: UTF8.self) }
    }

    private func mode(_ name: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: "\(folder)/\(name)")[.posixPermissions] as? Int
    }

    @Test func `a link in the way of a new file is not followed`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try write("precious", to: "victim")
        try FileManager.default.createSymbolicLink(
            atPath: folder + "/secret.new",
            withDestinationPath: folder + "/victim"
        )
        try PrivateFile.write(Array("secret".utf8), to: folder + "/secret")
        #expect(content("victim") == "precious")
        #expect(content("secret") == "secret")
        #expect(try mode("secret") == 0o600)
    }

    @Test func `a file that somebody holds open in the way of a new one gets none of it`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try write("", to: "secret.new", mode: 0o666)
        // The path lives through the call.
        let held = unsafe open(folder + "/secret.new", O_RDONLY)
        defer { close(held) }
        try PrivateFile.write(Array("secret".utf8), to: folder + "/secret")
        var byte: UInt8 = 0
        // One byte is read into one byte.
        #expect(unsafe read(held, &byte, 1) == 0)
    }

    @Test(arguments: [0o777, 0o1777, 0o770]) func `a directory that others may write to is refused`(mode: Int) throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: folder)
        let error = #expect(throws: UsageError.self) { _ = try StateDirectory(folder) }
        #expect(error?.description.contains("chmod go-w") == true)
    }

    @Test func `a secret that others could read is closed to them`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try write("0123456789abcdef\n", to: "turn-secret", mode: 0o644)
        #expect(try StateDirectory(folder).turnSecrets() == ["0123456789abcdef"])
        #expect(try mode("turn-secret") == 0o600)
    }

    @Test func `credentials of a server that never ran make no state`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let error = #expect(throws: UsageError.self) { _ = try StateDirectory.existingSecret(folder + "/none") }
        #expect(error?.description.contains("/none/turn-secret") == true)
        #expect(!FileManager.default.fileExists(atPath: folder + "/none"))
    }

    @Test func `a certificate whose key a crash has replaced is made anew`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let state = try StateDirectory(folder)
        let now: UInt64 = 1_700_000_000
        let first = try state.ownIdentity(for: [], now: now)
        #expect(try state.ownIdentity(for: [], now: now).fingerprintSHA256 == first.fingerprintSHA256)
        let certificate = try #require(content("floe-certificate.pem"))
        try FileManager.default.removeItem(atPath: folder + "/floe-key.pem")
        _ = try state.ownIdentity(for: [], now: now)
        try write(certificate, to: "floe-certificate.pem")
        let healed = try state.ownIdentity(for: [], now: now)
        #expect(healed.fingerprintSHA256 != first.fingerprintSHA256)
        #expect(try state.ownIdentity(for: [], now: now).fingerprintSHA256 == healed.fingerprintSHA256)
    }

    @Test func `two servers do not share a state directory`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let state = try StateDirectory(folder)
        do {
            let lock = try state.lock()
            let error = #expect(throws: UsageError.self) { _ = try state.lock() }
            #expect(error?.description.contains("in use") == true)
            _ = consume lock
        }
        _ = try state.lock()
    }
}
