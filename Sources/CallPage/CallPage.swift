import CCallPage

/// A file of the call page.
public struct CallPageFile: Sendable, Equatable {
    /// The path that it is served at.
    public let path: String
    /// Its media type.
    public let contentType: String
    /// What is in it.
    public let bytes: [UInt8]

    /// Makes a file.
    public init(path: String, contentType: String, bytes: [UInt8]) {
        self.path = path
        self.contentType = contentType
        self.bytes = bytes
    }
}

/// The call page: plain HTML, CSS and ES modules, embedded in the program.
///
/// The sources are in `www`; `Scripts/list-page-files` lists them for the embedding.
public enum CallPage {
    /// All files; `index.html` is served at `/`.
    public static let files: [CallPageFile] = (0..<floe_page_file_count()).map { index in
        // The texts and bytes are constants of the program and live as long as it does.
        let file = unsafe floe_page_file_at(index)
        let name = unsafe String(cString: file.name)
        return unsafe CallPageFile(
            path: name == "index.html" ? "/" : "/" + name,
            contentType: String(cString: file.content_type),
            bytes: [UInt8](UnsafeBufferPointer(start: file.bytes, count: file.count))
        )
    }
}
