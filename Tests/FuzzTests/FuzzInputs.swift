import Foundation

/// The files of the fuzzers, beside the tests in the source tree.
enum FuzzInputs {
    struct Input {
        let name: String
        let bytes: [UInt8]
    }

    /// Reads the files of a folder in `Fuzz`; a folder that does not exist has none.
    static func read(_ folder: String) throws -> [Input] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fuzz/\(folder)")
        guard FileManager.default.fileExists(atPath: root.path) else { return [] }
        let files = try FileManager.default.contentsOfDirectory(at: root, includingPropertiesForKeys: nil)
        return try files.sorted { $0.path < $1.path }.map { file in
            Input(name: file.lastPathComponent, bytes: Array(try Data(contentsOf: file)))
        }
    }
}
