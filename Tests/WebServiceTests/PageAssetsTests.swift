import CallPage
import FoundationEssentials
import HTTP
import NetTypes
import Testing

@testable import WebService

@Suite struct PageAssetsTests {
    private static let folder: String = {
        let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return tests.deletingLastPathComponent().path + "/Sources/CallPage/www"
    }()

    private static let types = [
        "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml", "webmanifest": "application/manifest+json",
    ]

    private static let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()

    private static func path(_ name: String) -> String { name == "index.html" ? "/" : "/" + name }

    @Test func `the embedded files are those of the directory`() {
        #expect(CallPage.files.map(\.path).sorted() == Self.names.map(Self.path).sorted())
        #expect(!CallPage.files.isEmpty)
    }

    @Test(arguments: names)
    func `a file is served as it is, and not sent twice`(name: String) throws {
        let content = try #require(FileManager.default.contents(atPath: "\(Self.folder)/\(name)"))
        let fixture = RouterFixture()
        let path = Self.path(name)
        let response = try fixture.response("GET \(path)")
        #expect(response.status == .ok)
        #expect(response.body == Array(content))
        let suffix = try #require(name.split(separator: ".").last)
        #expect(response.headers["Content-Type"] == Self.types[String(suffix)])
        #expect(response.headers["Cache-Control"] == "no-cache")
        let tag = try #require(response.headers["ETag"])
        for field in [tag, "W/\(tag)", "\"other\", \(tag)", "*"] {
            let again = try fixture.response("GET \(path)", ["If-None-Match: \(field)"])
            #expect(again.status == .notModified && again.body.isEmpty)
            #expect(again.headers["ETag"] == tag)
            expectSecurityHeaders(again.headers)
        }
        #expect(try fixture.response("GET \(path)", ["If-None-Match: \"other\""]).status == .ok)
    }

    @Test func `files differ in their tags`() throws {
        let fixture = RouterFixture()
        let tags = try Self.names.map { try fixture.response("GET \(Self.path($0))").headers["ETag"] }
        #expect(Set(tags).count == tags.count)
    }

    @Test func `what the files refer to is served too`() throws {
        let served = Set(CallPage.files.map(\.path))
        var references = 0
        for file in CallPage.files {
            let marks = file.path == "/" ? ["src=\"", "href=\""] : ["from './", "import './", "import('./"]
            guard file.path == "/" || file.path.hasSuffix(".js") else { continue }
            let text = String(decoding: file.bytes, as: UTF8.self)
            for mark in marks {
                for rest in text.split(separator: mark, omittingEmptySubsequences: false).dropFirst() {
                    let target = "/" + rest.prefix { $0 != "\"" && $0 != "'" }
                    // A part of the page itself.
                    guard !target.hasPrefix("/#") else { continue }
                    references += 1
                    #expect(served.contains(target), "\(file.path) refers to \(target)")
                }
            }
        }
        #expect(references > 10)
    }
}
