/// A signaling session as it is stored; the session's secret itself never is.
public struct SessionRecord: Hashable, Sendable {
    /// The SHA-256 digest of the session's secret: 32 bytes.
    public var digest: [UInt8]
    /// The room's name.
    public var room: String
    /// The peer's public id.
    public var peerID: String
    /// The peer's name.
    public var name: String
    /// When the peer was last known to be connected, in seconds since 1970.
    public var lastSeenUnixSeconds: Int64

    /// Makes a record.
    public init(digest: [UInt8], room: String, peerID: String, name: String, lastSeenUnixSeconds: Int64) {
        self.digest = digest
        self.room = room
        self.peerID = peerID
        self.name = name
        self.lastSeenUnixSeconds = lastSeenUnixSeconds
    }
}

/// One change of the stored sessions.
public enum SessionChange: Hashable, Sendable {
    /// Adds the session, or replaces the one with the same digest.
    case save(SessionRecord)
    /// Removes the session with this digest, if there is one.
    case remove(digest: [UInt8])
}

extension Database {
    /// Makes all the changes in their order, in one transaction.
    ///
    /// - Throws: `StoreError`; then none of the changes was made.
    public func apply(_ changes: [SessionChange]) throws(StoreError) {
        guard !changes.isEmpty else { return }
        try transaction { () throws(StoreError) in
            let save = try prepare("INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?)")
            let remove = try prepare("DELETE FROM session WHERE digest = ?")
            for change in changes {
                switch change {
                case .save(let record):
                    try Self.check(record.digest, count: 32, "the digest of a session")
                    for text in [record.room, record.peerID, record.name] { try Self.check(text, "a session's text") }
                    try save.run([
                        .blob(record.digest), .text(record.room), .text(record.peerID), .text(record.name),
                        .integer(record.lastSeenUnixSeconds),
                    ])
                case .remove(let digest): try remove.run([.blob(digest)])
                }
            }
        }
    }

    /// All stored sessions, the one seen last first.
    public func sessions() throws(StoreError) -> [SessionRecord] {
        var records: [SessionRecord] = []
        let select = try prepare(
            "SELECT digest, room, peer, name, last_seen FROM session ORDER BY last_seen DESC, digest"
        )
        try select.run { (row) throws(StoreError) in
            records.append(
                SessionRecord(
                    digest: row.bytes(0),
                    room: row.text(1),
                    peerID: row.text(2),
                    name: row.text(3),
                    lastSeenUnixSeconds: row.integer(4)
                )
            )
        }
        return records
    }

    static func check(_ bytes: [UInt8], count: Int, _ what: String) throws(StoreError) {
        guard bytes.count == count else {
            throw .badRecord(what: "\(what) has \(bytes.count) bytes instead of \(count)")
        }
    }

    static func check(_ text: String, _ what: String) throws(StoreError) {
        guard text.utf8.count <= textBytes else { throw .badRecord(what: "\(what) is longer than \(textBytes) bytes") }
        guard !text.utf8.contains(0) else { throw .badRecord(what: "\(what) has a zero character in it") }
    }
}
