import CSQLite

/// Why the store could not do what was asked.
public enum StoreError: Error, Equatable, Sendable {
    /// The file cannot be opened or made; `reason` is the system's word for it.
    case cannotOpen(path: String, reason: String)
    /// Another process holds the store's lock for too long.
    case locked(path: String)
    /// The file is damaged.
    case corrupt(path: String)
    /// The file is no SQLite database, or one of another program.
    case notAStore(path: String)
    /// The file was written by a newer version, whose tables this one does not know.
    case newerVersion(path: String, found: Int, known: Int)
    /// The disk, or the quota on it, is full.
    case diskFull(path: String)
    /// The file, or its directory, may not be written.
    case readOnly(path: String)
    /// A read or a write failed; `code` is SQLite's extended result code.
    case inputOutput(path: String, code: Int32)
    /// What is stored or given is not of the form that it must have; `what` names it.
    case badRecord(what: String)
    /// Anything else; `code` is SQLite's extended result code.
    case failed(path: String, code: Int32, message: String)
}

extension StoreError: CustomStringConvertible {
    /// What is wrong, where, and what to do.
    public var description: String {
        switch self {
        case .cannotOpen(let path, let reason):
            "The store \"\(path)\" cannot be opened: \(reason). Check that its directory exists and may be written."
        case .locked(let path):
            "The store \"\(path)\" is locked by another process. Wait until that has finished, or stop it."
        case .corrupt(let path):
            "The store \"\(path)\" is damaged. Put back a copy, or move the file away to start with an empty store."
        case .notAStore(let path):
            "The file \"\(path)\" is not a store of Floe. Choose another path, or move the file away."
        case .newerVersion(let path, let found, let known):
            "The store \"\(path)\" has version \(found), this program knows versions up to \(known). Use a newer program."
        case .diskFull(let path):
            "The disk of the store \"\(path)\" is full. Make room; nothing that was stored before is lost."
        case .readOnly(let path):
            "The store \"\(path)\" may not be written. Check the owner and the rights of the file and its directory."
        case .inputOutput(let path, let code):
            "Reading or writing the store \"\(path)\" failed (SQLite code \(code)). Check the disk and the system's log."
        case .badRecord(let what):
            "The store cannot take this: \(what)."
        case .failed(let path, let code, let message):
            "The store \"\(path)\" failed: \(message) (SQLite code \(code))."
        }
    }
}

extension StoreError {
    /// The error for a result code of SQLite.
    init(code: Int32, message: String, path: String) {
        // The low byte is the kind, the rest a detail of it.
        self =
            switch code & 0xFF {
            case SQLITE_BUSY, SQLITE_LOCKED: .locked(path: path)
            case SQLITE_CORRUPT: .corrupt(path: path)
            case SQLITE_NOTADB: .notAStore(path: path)
            case SQLITE_FULL: .diskFull(path: path)
            case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH: .readOnly(path: path)
            case SQLITE_CANTOPEN: .cannotOpen(path: path, reason: message)
            case SQLITE_IOERR: .inputOutput(path: path, code: code)
            default: .failed(path: path, code: code, message: message)
            }
    }
}
