import NetTypes
import TestSupport
import Testing

@testable import Store

func session(_ number: UInt8, room: String = "room") -> SessionRecord {
    SessionRecord(
        digest: Array(repeating: number, count: 32),
        room: room,
        peerID: "peer\(number)",
        name: "Ada 👩‍🚀 \(number)",
        lastSeenUnixSeconds: Int64(number)
    )
}

@Suite("Store")
struct StoreTests {
    @Test func `what is saved is there after the next opening`() throws {
        let folder = try Folder()
        let user = UserRecord(
            name: "ada",
            realm: "example.org",
            md5Key: Array(0..<16),
            sha256Key: Array(repeating: 0xFF, count: 32)
        )
        let key = APIKeyRecord(digest: Array(repeating: 9, count: 32), label: "backend")
        do {
            let database = try Database(path: folder.file)
            try database.apply([.save(session(1)), .save(session(2)), .save(session(3))])
            try database.apply([.remove(digest: session(2).digest), .remove(digest: [1, 2, 3])])
            try database.save(user)
            try database.save(key)
            try database.setSetting("turn.secret", to: "s' OR 1 --")
        }
        let database = try Database(path: folder.file)
        #expect(try database.sessions() == [session(3), session(1)])
        #expect(try database.users() == [user])
        #expect(try database.apiKeys() == [key])
        #expect(try database.setting("turn.secret") == "s' OR 1 --")
        #expect(try database.setting("nothing") == nil)
        try database.verify()
    }

    @Test func `saving again replaces and removing says whether there was something`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        var record = session(1)
        try database.apply([.save(record)])
        record.room = "other"
        try database.apply([.save(record), .save(record)])
        #expect(try database.sessions() == [record])
        var user = UserRecord(name: "ada", realm: "r", md5Key: Array(repeating: 1, count: 16), sha256Key: record.digest)
        try database.save(user)
        user.md5Key[0] = 2
        try database.save(user)
        #expect(try database.users() == [user])
        #expect(try database.removeUser(named: "ada", realm: "another") == false)
        #expect(try database.removeUser(named: "ada", realm: "r"))
        #expect(try database.users().isEmpty)
        try database.save(APIKeyRecord(digest: record.digest, label: "one"))
        try database.save(APIKeyRecord(digest: record.digest, label: "two"))
        #expect(try database.apiKeys().map(\.label) == ["two"])
        #expect(try database.removeAPIKeys(labelled: "one") == false)
        #expect(try database.removeAPIKeys(labelled: "two"))
        try database.setSetting("k", to: "1")
        try database.setSetting("k", to: "2")
        #expect(try database.setting("k") == "2")
        try database.setSetting("k", to: nil)
        #expect(try database.setting("k") == nil)
    }

    @Test func `a batch with one bad record changes nothing`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        var bad = session(2)
        bad.digest.removeLast()
        #expect(throws: StoreError.badRecord(what: "the digest of a session has 31 bytes instead of 32")) {
            try database.apply([.save(session(1)), .save(bad)])
        }
        bad = session(2)
        bad.name = String(repeating: "a", count: 1025)
        #expect(throws: StoreError.self) { try database.apply([.save(session(1)), .save(bad)]) }
        bad.name = "a\u{0}b"
        #expect(throws: StoreError.self) { try database.apply([.save(session(1)), .save(bad)]) }
        #expect(try database.sessions().isEmpty)
        try database.apply([.save(session(1))])
        #expect(try database.sessions().count == 1)
    }

    @Test func `keys of the wrong size are refused`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        let key = Array(repeating: UInt8(0), count: 32)
        for user in [
            UserRecord(name: "", realm: "r", md5Key: Array(key.prefix(16)), sha256Key: key),
            UserRecord(name: "u", realm: "r", md5Key: key, sha256Key: key),
            UserRecord(name: "u", realm: "r", md5Key: Array(key.prefix(16)), sha256Key: []),
        ] {
            #expect(throws: StoreError.self) { try database.save(user) }
        }
        #expect(throws: StoreError.self) { try database.save(APIKeyRecord(digest: [], label: "l")) }
        #expect(try database.users().isEmpty)
    }

    @Test func `thousands of sessions go in one batch`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        let records = (0..<5000).map { number in
            var record = session(1)
            record.digest[0] = UInt8(number & 255)
            record.digest[1] = UInt8(number >> 8)
            record.lastSeenUnixSeconds = Int64(number)
            return record
        }
        try database.apply(records.map { .save($0) })
        #expect(try database.sessions() == records.reversed())
        try database.apply(records.map { .remove(digest: $0.digest) })
        #expect(try database.sessions().isEmpty)
    }

    @Test func `nobody else may read the files`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        try database.apply([.save(session(1))])
        #expect(folder.names.contains("store.db-wal"))
        for name in folder.names { #expect(try folder.mode(of: name) == 0o600, "\(name)") }
        try database.verify()
    }

    @Test func `an open file is closed to others when it is opened again`() throws {
        let folder = try Folder()
        do { _ = try Database(path: folder.file) }
        try folder.setMode(0o644, of: "store.db")
        let database = try Database(path: folder.file)
        #expect(try folder.mode(of: "store.db") == 0o600)
        try database.verify()
    }
}
