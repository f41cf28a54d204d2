import CallPage
import HTTP

/// The call page's files, with their tags computed once.
struct PageAssets: Sendable {
    private struct Asset: Sendable {
        let file: CallPageFile
        let tag: EntityTag
    }

    private let assets: [String: Asset]

    init(_ files: [CallPageFile] = CallPage.files) {
        assets = Dictionary(
            uniqueKeysWithValues: files.map { ($0.path, Asset(file: $0, tag: EntityTag(of: $0.bytes))) }
        )
    }

    /// The file that the request asks for, or 304 if the client has it; `nil` if there is none of that path.
    func response(to request: HTTPRequest) -> HTTPResponse? {
        guard let asset = assets[request.target.path] else { return nil }
        // "no-cache" lets a browser keep the file but makes it ask: a new version is seen at once, for a 304 otherwise.
        let headers: HTTPHeaders = ["Content-Type": asset.file.contentType, "Cache-Control": "no-cache"]
        return .cacheable(asset.file.bytes, tag: asset.tag, headers: headers, for: request)
    }
}
