import FoundationEssentials
import Testing

@testable import Store

/// A directory of its own for one test; removed with all files in it at the end.
final class Folder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/floe-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var file: String { path + "/store.db" }

    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    func mode(of name: String) throws -> Int? {
        let attributes = try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")
        return attributes[.posixPermissions] as? Int
    }

    func setMode(_ mode: Int, of name: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: "\(path)/\(name)")
    }

    /// Overwrites a part of the file, or makes it; it becomes as long as need be.
    func write(_ bytes: [UInt8], at offset: Int = 0) throws {
        var data = FileManager.default.contents(atPath: file) ?? Data()
        if data.count < offset + bytes.count { data.append(Data(count: offset + bytes.count - data.count)) }
        data.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        try data.write(to: URL(filePath: file))
    }
}

extension Database {
    /// Reads every page and checks the whole file.
    func verify() throws(StoreError) {
        var report = ""
        try prepare("PRAGMA quick_check(1)").run { (row) throws(StoreError) in report = row.text(0) }
        guard report == "ok" else { throw .corrupt(path: path) }
    }
}
