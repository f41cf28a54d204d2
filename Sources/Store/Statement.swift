import CSQLite

/// A value of one column.
enum ColumnValue {
    case integer(Int64)
    case text(String)
    case blob([UInt8])
}

/// A prepared statement; finalized when it goes out of scope, which must be before its database does.
@safe
struct Statement: ~Copyable {
    // Owned by this value alone, from `prepare` until `deinit`.
    private let handle: OpaquePointer
    private let path: String

    init(_ sql: String, on database: OpaquePointer, path: String) throws(StoreError) {
        var prepared: OpaquePointer?
        // The text is copied by SQLite before the call returns; -1 means that it ends with a zero, which Swift appends.
        let code = unsafe sqlite3_prepare_v2(database, sql, -1, &prepared, nil)
        guard code == SQLITE_OK, let made = unsafe prepared else {
            throw unsafe StoreError(code: code, message: String(cString: sqlite3_errmsg(database)), path: path)
        }
        unsafe handle = made
        self.path = path
    }

    deinit { unsafe sqlite3_finalize(handle) }

    /// Runs the statement with these parameters until its end; calls `row` for each row of the result.
    borrowing func run(
        _ parameters: [ColumnValue] = [],
        row: (borrowing Row) throws(StoreError) -> Void = { _ in }
    ) throws(StoreError) {
        // Bindings point to nothing of ours: SQLite has copied them. After the reset the statement can run again.
        defer { unsafe sqlite3_reset(handle) }
        for (index, parameter) in parameters.enumerated() {
            try check(bind(parameter, at: Int32(index + 1)))
        }
        while true {
            switch unsafe sqlite3_step(handle) {
            case SQLITE_ROW: try unsafe row(Row(handle: handle))
            case SQLITE_DONE: return
            case let code: try check(code)
            }
        }
    }

    private borrowing func bind(_ value: ColumnValue, at index: Int32) -> Int32 {
        switch value {
        case .integer(let number):
            return unsafe sqlite3_bind_int64(handle, index, number)
        case .text(let text):
            var text = text
            // The pointer lives for the call only; SQLite copies the bytes.
            return text.withUTF8 { bytes in
                unsafe bytes.withMemoryRebound(to: CChar.self) {
                    unsafe floe_bind_text(handle, index, $0.baseAddress, Int32(clamping: $0.count))
                }
            }
        case .blob(let bytes):
            // The pointer lives for the call only; SQLite copies the bytes.
            return unsafe bytes.withUnsafeBufferPointer {
                unsafe floe_bind_blob(handle, index, $0.baseAddress, Int32(clamping: $0.count))
            }
        }
    }

    private borrowing func check(_ code: Int32) throws(StoreError) {
        guard code != SQLITE_OK else { return }
        // The database outlives its statements and has the message of the last call.
        let message = unsafe String(cString: sqlite3_errmsg(sqlite3_db_handle(handle)))
        throw StoreError(code: code, message: message, path: path)
    }
}

/// The row that a statement stands on; valid during the call that it is handed to.
@safe
struct Row: ~Copyable {
    private let handle: OpaquePointer

    fileprivate init(handle: OpaquePointer) { unsafe self.handle = unsafe handle }

    /// The column as an integer; 0 if it is of another kind.
    borrowing func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(handle, column) }

    /// The column as text; empty if it is `NULL`.
    borrowing func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

    /// The column's bytes; empty if it is `NULL`.
    borrowing func bytes(_ column: Int32) -> [UInt8] {
        // SQLite owns the bytes until the next step; they are copied here. The count is that of this very value.
        guard let start = unsafe sqlite3_column_blob(handle, column) else { return [] }
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }
}
