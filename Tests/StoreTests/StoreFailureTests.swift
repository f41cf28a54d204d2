import NetTypes
import TestSupport
import Testing

@testable import Store

@Suite("Store failures")
struct StoreFailureTests {
    @Test func `a second opener reads what the first has written`() throws {
        let folder = try Folder()
        let first = try Database(path: folder.file)
        let second = try Database(path: folder.file)
        try second.apply([.save(session(1))])
        try first.apply([.save(session(2))])
        #expect(try second.sessions().count == 2)
    }

    @Test func `a writer that does not end locks the other one out with a sentence`() throws {
        let folder = try Folder()
        let first = try Database(path: folder.file)
        let second = try Database(path: folder.file, busyTimeoutMilliseconds: 20)
        try first.transaction { () throws(StoreError) in
            try first.prepare("INSERT INTO setting VALUES ('a', 'b')").run()
            #expect(throws: StoreError.locked(path: folder.file)) { try second.apply([.save(session(1))]) }
            // A reader waits for nobody and sees what was there before.
            #expect(try second.setting("a") == nil)
        }
        try second.apply([.save(session(1))])
        #expect(try second.setting("a") == "b")
    }

    @Test func `a file that is no database is left as it is`() throws {
        let folder = try Folder()
        try folder.write(Array("Dear diary, this is not a database at all, and it is long enough to be one.".utf8))
        #expect(throws: StoreError.notAStore(path: folder.file)) { _ = try Database(path: folder.file) }
        #expect(folder.names == ["store.db"])
    }

    @Test func `a database of another program is left as it is`() throws {
        let folder = try Folder()
        do {
            let database = try Database(path: folder.file)
            try database.prepare("PRAGMA application_id = 7").run()
        }
        #expect(throws: StoreError.notAStore(path: folder.file)) { _ = try Database(path: folder.file) }
    }

    @Test func `a database without a mark that has tables is another program's`() throws {
        let folder = try Folder()
        do {
            let database = try Database(path: folder.file)
            try database.prepare("PRAGMA application_id = 0").run()
            try database.prepare("PRAGMA user_version = 0").run()
        }
        #expect(throws: StoreError.notAStore(path: folder.file)) { _ = try Database(path: folder.file) }
    }

    @Test func `a newer version's file is refused`() throws {
        let folder = try Folder()
        do {
            let database = try Database(path: folder.file)
            try database.prepare("PRAGMA user_version = 99").run()
        }
        let expected = StoreError.newerVersion(path: folder.file, found: 99, known: Schema.steps.count)
        #expect(throws: expected) { _ = try Database(path: folder.file) }
    }

    @Test func `an empty file becomes a store`() throws {
        let folder = try Folder()
        try folder.write([])
        let database = try Database(path: folder.file)
        try database.apply([.save(session(1))])
        #expect(try database.sessions() == [session(1)])
    }

    @Test(arguments: seeds(40))
    func `a damaged file is an error or is read, but never a crash`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        let folder = try Folder()
        do {
            let database = try Database(path: folder.file)
            try database.apply((0..<200).map { .save(session($0)) })
        }
        for _ in 0..<20 {
            // Anywhere behind the header, so that the damage is met late.
            try folder.write(
                entropy.bytes(Int.random(in: 1...200, using: &entropy)),
                at: .random(in: 100...40000, using: &entropy)
            )
        }
        do throws(StoreError) {
            let database = try Database(path: folder.file)
            _ = try database.sessions()
            _ = try database.users()
            try database.apply([.save(session(250)), .remove(digest: session(3).digest)])
            try database.verify()
        } catch {
            switch error {
            case .corrupt, .notAStore, .newerVersion, .failed: break
            default: Issue.record("\(error)")
            }
            #expect(error.description.hasSuffix(".") || error.description.hasSuffix(")."))
        }
    }

    @Test func `a page of zeros is found by verification`() throws {
        let folder = try Folder()
        do {
            let database = try Database(path: folder.file)
            try database.apply((0..<200).map { .save(session($0)) })
        }
        try folder.write(Array(repeating: 0, count: 4096), at: 4096)
        #expect(throws: StoreError.corrupt(path: folder.file)) {
            let database = try Database(path: folder.file)
            try database.verify()
        }
    }

    @Test func `a full disk is an error and what was stored stays`() throws {
        let folder = try Folder()
        let database = try Database(path: folder.file)
        try database.apply([.save(session(1))])
        try database.prepare("PRAGMA max_page_count = 8").run()
        let many = (0..<5000).map { number in
            var record = session(1, room: "full")
            record.digest[0] = UInt8(number & 255)
            record.digest[1] = UInt8(number >> 8)
            return SessionChange.save(record)
        }
        #expect(throws: StoreError.diskFull(path: folder.file)) { try database.apply(many) }
        #expect(try database.sessions() == [session(1)])
        try database.apply([.remove(digest: session(1).digest)])
        #expect(try database.sessions().isEmpty)
    }

    @Test func `a path that leads nowhere is an error with a sentence`() throws {
        let folder = try Folder()
        for path in [folder.path + "/none/store.db", folder.path] {
            do {
                _ = try Database(path: path)
                Issue.record("opened \(path)")
            } catch {
                #expect(error.description.contains("cannot be opened") && error.description.contains(path))
            }
        }
    }

    @Test func `names that are special to SQLite are files like any other`() throws {
        let folder = try Folder()
        let path = folder.path + "/:memory:"
        do { try Database(path: path).apply([.save(session(1))]) }
        #expect(folder.names.contains(":memory:"))
        #expect(try Database(path: path).sessions().count == 1)
    }

    @Test(arguments: [
        StoreError.cannotOpen(path: "/s", reason: "r"), .locked(path: "/s"), .corrupt(path: "/s"),
        .notAStore(path: "/s"),
        .newerVersion(path: "/s", found: 2, known: 1), .diskFull(path: "/s"), .readOnly(path: "/s"),
        .inputOutput(path: "/s", code: 10), .failed(path: "/s", code: 1, message: "m"),
    ])
    func `every error names the file and ends a sentence`(error: StoreError) {
        #expect(error.description.contains("\"/s\""))
        #expect(error.description.hasSuffix("."))
    }

    @Test(arguments: [
        (Int32(5), StoreError.locked(path: "p")), (261, .locked(path: "p")), (11, .corrupt(path: "p")),
        (267, .corrupt(path: "p")), (26, .notAStore(path: "p")), (13, .diskFull(path: "p")), (8, .readOnly(path: "p")),
        (1032, .readOnly(path: "p")), (14, .cannotOpen(path: "p", reason: "m")),
        (266, .inputOutput(path: "p", code: 266)),
        (19, .failed(path: "p", code: 19, message: "m")),
    ])
    func `SQLite's codes become errors, details included`(code: Int32, expected: StoreError) {
        #expect(StoreError(code: code, message: "m", path: "p") == expected)
    }
}
