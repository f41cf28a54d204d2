import CSQLite

/// The tables and how they came to be; `PRAGMA user_version` counts the steps that a file has behind it.
enum Schema {
    /// Marks the file as ours (`PRAGMA application_id`): "Floe" in ASCII.
    static let applicationID = 0x466C_6F65

    /// The steps, each to the next version; one that was released never changes, another one is added.
    static let steps: [[String]] = [
        [
            """
            CREATE TABLE session (
                digest BLOB NOT NULL PRIMARY KEY, room TEXT NOT NULL, peer TEXT NOT NULL, name TEXT NOT NULL,
                last_seen INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE user (
                name TEXT NOT NULL, realm TEXT NOT NULL, md5_key BLOB NOT NULL, sha256_key BLOB NOT NULL,
                PRIMARY KEY (name, realm)
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE TABLE api_key (digest BLOB NOT NULL PRIMARY KEY, label TEXT NOT NULL) STRICT, WITHOUT ROWID",
            "CREATE TABLE setting (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        ]
    ]

    /// The version of the file's tables, 0 for an empty file; writes nothing.
    static func version(on handle: OpaquePointer, path: String) throws(StoreError) -> Int {
        let owner = try unsafe integer("PRAGMA application_id", on: handle, path: path)
        let version = try unsafe integer("PRAGMA user_version", on: handle, path: path)
        let tables = try unsafe integer("SELECT count(*) FROM sqlite_schema", on: handle, path: path)
        guard owner == applicationID || (owner == 0 && version == 0 && tables == 0) else {
            throw .notAStore(path: path)
        }
        guard version >= 0 else { throw .corrupt(path: path) }
        guard version <= steps.count else { throw .newerVersion(path: path, found: version, known: steps.count) }
        return version
    }

    /// Takes the steps from `version` on, all in one transaction.
    static func migrate(from version: Int, on handle: OpaquePointer, path: String) throws(StoreError) {
        guard version < steps.count else { return }
        try unsafe Database.execute("BEGIN IMMEDIATE", on: handle, path: path)
        do {
            // Another process may have taken the steps while this one waited for the lock.
            let version = try unsafe Self.version(on: handle, path: path)
            for statement in steps[version...].joined() {
                try unsafe Database.execute(statement, on: handle, path: path)
            }
            try unsafe Database.execute("PRAGMA application_id = \(applicationID)", on: handle, path: path)
            try unsafe Database.execute("PRAGMA user_version = \(steps.count)", on: handle, path: path)
            try unsafe Database.execute("COMMIT", on: handle, path: path)
        } catch {
            try? unsafe Database.execute("ROLLBACK", on: handle, path: path)
            throw error
        }
    }

    private static func integer(_ sql: String, on handle: OpaquePointer, path: String) throws(StoreError) -> Int {
        var value = 0
        try unsafe Statement(sql, on: handle, path: path).run { (row) throws(StoreError) in value = Int(row.integer(0))
        }
        return value
    }
}
