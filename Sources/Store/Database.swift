import CSQLite

#if canImport(Glibc)
import Glibc
#endif

/// The embedded store: one SQLite file with sessions, users, API keys and settings.
///
/// One value owns one connection to the file. Another process may have the file open too (an administrator's command
/// beside the server): writers wait for each other up to the busy timeout, readers for nobody. Calls block on the disk:
/// never make them on a thread that relays packets.
@safe
public struct Database: ~Copyable, @unchecked Sendable {
    // `@unchecked`: the connection has one owner, which cannot be copied, so one thread uses it at a time.
    // Owned by this value alone, from `init` until `deinit`.
    private let handle: OpaquePointer

    /// The path that the store was opened with.
    public let path: String

    /// The longest text of a record in bytes; longer ones are refused.
    static let textBytes = 1024

    /// Opens the store at `path`, makes it if it is not there, and brings its tables up to date.
    ///
    /// The file gets mode 0600, since it holds keys. `busyTimeoutMilliseconds` is how long a call waits for another
    /// process's write to end.
    /// - Throws: `StoreError`, whose description is a sentence for the operator.
    public init(path: String, busyTimeoutMilliseconds: Int32 = 2000) throws(StoreError) {
        try Self.secure(path)
        var opened: OpaquePointer?
        // Without SQLite's own mutex: this value has a single owner. The path is copied before the call returns.
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = unsafe sqlite3_open_v2(Self.absolute(path), &opened, flags, nil)
        guard code == SQLITE_OK, let made = unsafe opened else {
            let message = unsafe String(cString: sqlite3_errstr(code))
            unsafe sqlite3_close_v2(opened)
            throw StoreError(code: code, message: message, path: path)
        }
        do {
            try unsafe Self.configure(made, path: path, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
        } catch {
            unsafe sqlite3_close_v2(made)
            throw error
        }
        unsafe handle = made
        self.path = path
    }

    deinit { unsafe sqlite3_close_v2(handle) }

    func prepare(_ sql: String) throws(StoreError) -> Statement {
        try unsafe Statement(sql, on: handle, path: path)
    }

    /// Runs `body` in one transaction: all of its changes are stored, or none if it throws.
    func transaction(_ body: () throws(StoreError) -> Void) throws(StoreError) {
        try unsafe Self.execute("BEGIN IMMEDIATE", on: handle, path: path)
        do {
            try body()
            try unsafe Self.execute("COMMIT", on: handle, path: path)
        } catch {
            // A full disk may have rolled back already; then this says so, and the first error is the one to report.
            try? unsafe Self.execute("ROLLBACK", on: handle, path: path)
            throw error
        }
    }

    static func execute(_ sql: String, on handle: OpaquePointer, path: String) throws(StoreError) {
        try unsafe Statement(sql, on: handle, path: path).run()
    }

    private static func configure(
        _ handle: OpaquePointer,
        path: String,
        busyTimeoutMilliseconds: Int32
    ) throws(StoreError) {
        unsafe sqlite3_busy_timeout(handle, busyTimeoutMilliseconds)
        let code = unsafe floe_distrust_schema(handle)
        guard code == SQLITE_OK else {
            throw unsafe StoreError(code: code, message: String(cString: sqlite3_errstr(code)), path: path)
        }
        // Before the first write: a file of another program stays as it is.
        let version = try unsafe Schema.version(on: handle, path: path)
        // With a write-ahead log, NORMAL may lose the last transactions when power fails, but never damages the file.
        try unsafe execute("PRAGMA journal_mode = WAL", on: handle, path: path)
        try unsafe execute("PRAGMA synchronous = NORMAL", on: handle, path: path)
        try unsafe execute("PRAGMA journal_size_limit = 4194304", on: handle, path: path)
        try unsafe Schema.migrate(from: version, on: handle, path: path)
    }

    /// Makes the file if need be, with mode 0600 from its first moment on; SQLite gives its other files the same mode.
    ///
    /// A file that exists is not opened here: closing it would drop this process's other locks on it (POSIX fcntl).
    private static func secure(_ path: String) throws(StoreError) {
        // None of these calls keeps the path.
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if descriptor >= 0 {
            close(descriptor)
            return
        }
        let code = errno
        guard code == EEXIST else {
            if code == EACCES || code == EROFS || code == EPERM { throw .readOnly(path: path) }
            throw .cannotOpen(path: path, reason: unsafe String(cString: strerror(code)))
        }
        var status = stat()
        guard unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw .cannotOpen(path: path, reason: "it is not a regular file")
        }
        // An owner's file that others may read is closed to them; another owner's file is left as it is.
        if status.st_mode & 0o077 != 0, status.st_uid == geteuid() { _ = unsafe chmod(path, 0o600) }
    }

    /// SQLite takes names such as ":memory:" and "file:…" for something else than a file in this directory.
    private static func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : "./" + path }
}
