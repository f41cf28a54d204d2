/// A TURN user with long-term credentials: the keys that stand for the password, never the password.
public struct UserRecord: Hashable, Sendable {
    /// The user's name (RFC 8489 §14.3).
    public var name: String
    /// The realm that the keys are for.
    public var realm: String
    /// The MD5 key of RFC 8489 §9.2.2: 16 bytes.
    public var md5Key: [UInt8]
    /// The SHA-256 key of RFC 8489 §18.5.1.2: 32 bytes.
    public var sha256Key: [UInt8]

    /// Makes a record.
    public init(name: String, realm: String, md5Key: [UInt8], sha256Key: [UInt8]) {
        self.name = name
        self.realm = realm
        self.md5Key = md5Key
        self.sha256Key = sha256Key
    }
}

/// A key of the HTTP interface; the key itself is not stored.
public struct APIKeyRecord: Hashable, Sendable {
    /// The SHA-256 digest of the key: 32 bytes.
    public var digest: [UInt8]
    /// What the operator calls the key.
    public var label: String

    /// Makes a record.
    public init(digest: [UInt8], label: String) {
        self.digest = digest
        self.label = label
    }
}

extension Database {
    /// Adds a user, or replaces the keys of the one with the same name and realm.
    public func save(_ user: UserRecord) throws(StoreError) {
        guard !user.name.isEmpty else { throw .badRecord(what: "a user without a name") }
        try Self.check(user.name, "a user's name")
        try Self.check(user.realm, "a user's realm")
        try Self.check(user.md5Key, count: 16, "a user's MD5 key")
        try Self.check(user.sha256Key, count: 32, "a user's SHA-256 key")
        try prepare("INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?)").run([
            .text(user.name), .text(user.realm), .blob(user.md5Key), .blob(user.sha256Key),
        ])
    }

    /// Removes a user; returns whether there was one.
    @discardableResult
    public func removeUser(named name: String, realm: String) throws(StoreError) -> Bool {
        try removeRow("DELETE FROM user WHERE name = ? AND realm = ?", [.text(name), .text(realm)])
    }

    /// All users, by realm and name.
    public func users() throws(StoreError) -> [UserRecord] {
        var records: [UserRecord] = []
        let select = try prepare("SELECT name, realm, md5_key, sha256_key FROM user ORDER BY realm, name")
        try select.run { (row) throws(StoreError) in
            records.append(
                UserRecord(name: row.text(0), realm: row.text(1), md5Key: row.bytes(2), sha256Key: row.bytes(3))
            )
        }
        return records
    }

    /// Adds a key of the HTTP interface, or changes the label of the one with the same digest.
    public func save(_ key: APIKeyRecord) throws(StoreError) {
        try Self.check(key.digest, count: 32, "the digest of an API key")
        try Self.check(key.label, "an API key's label")
        try prepare("INSERT OR REPLACE INTO api_key VALUES (?, ?)").run([.blob(key.digest), .text(key.label)])
    }

    /// Removes all keys with this label; returns whether there was one.
    @discardableResult
    public func removeAPIKeys(labelled label: String) throws(StoreError) -> Bool {
        try removeRow("DELETE FROM api_key WHERE label = ?", [.text(label)])
    }

    /// All keys of the HTTP interface, by label.
    public func apiKeys() throws(StoreError) -> [APIKeyRecord] {
        var records: [APIKeyRecord] = []
        try prepare("SELECT digest, label FROM api_key ORDER BY label, digest").run { (row) throws(StoreError) in
            records.append(APIKeyRecord(digest: row.bytes(0), label: row.text(1)))
        }
        return records
    }

    /// Stores a setting, or removes it if `value` is `nil`.
    public func setSetting(_ key: String, to value: String?) throws(StoreError) {
        try Self.check(key, "a setting's key")
        guard let value else { return try prepare("DELETE FROM setting WHERE key = ?").run([.text(key)]) }
        try Self.check(value, "a setting's value")
        try prepare("INSERT OR REPLACE INTO setting VALUES (?, ?)").run([.text(key), .text(value)])
    }

    /// The value of a setting, or `nil` if it is not stored.
    public func setting(_ key: String) throws(StoreError) -> String? {
        var value: String?
        try prepare("SELECT value FROM setting WHERE key = ?").run([.text(key)]) { (row) throws(StoreError) in
            value = row.text(0)
        }
        return value
    }

    private func removeRow(_ sql: String, _ parameters: [ColumnValue]) throws(StoreError) -> Bool {
        var removed = false
        // RETURNING has one row for each one that was removed.
        try prepare(sql + " RETURNING 1").run(parameters) { (_) throws(StoreError) in removed = true }
        return removed
    }
}
