/// What a request line asks for (RFC 9112 §3.2), split but not decoded.
public struct HTTPTarget: Sendable, Equatable {
    /// The target as it was written.
    public let text: String
    /// The part before the first `?`, still percent-encoded; begins with `/`, or is `*`.
    public let path: String
    /// The part after the first `?`, still percent-encoded, or `nil` if there is no `?`.
    public let query: String?
    /// Host and port of a target in absolute form.
    let authority: String?

    /// The path with its percent triplets decoded, or `nil` if the result is not UTF-8 or has a NUL.
    ///
    /// An encoded slash becomes a slash like any other: use `pathSegments` where that matters.
    public var decodedPath: String? { PercentEncoding.decode(path) }

    /// The decoded parts between the slashes (`/a/b%2Fc` has `a` and `b/c`), or `nil` if one is not UTF-8, or is `.`
    /// or `..`, which a client resolves before it asks.
    public var pathSegments: [String]? {
        var segments: [String] = []
        for part in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard let segment = PercentEncoding.decode(part), segment != ".", segment != ".." else { return nil }
            segments.append(segment)
        }
        return segments
    }

    /// The pairs of a query such as `a=1&b=two+words`, decoded; pairs that are not UTF-8 are left out.
    public var queryItems: [(name: String, value: String)] {
        (query ?? "").split(separator: "&").compactMap { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentEncoding.decode(parts[0], plusIsSpace: true),
                let value = PercentEncoding.decode(parts.count > 1 ? parts[1] : "", plusIsSpace: true)
            else { return nil }
            return (name, value)
        }
    }

    /// The decoded value of the first pair called `name` in the query.
    public func queryValue(_ name: String) -> String? { queryItems.first { $0.name == name }?.value }

    /// Reads a target in origin form, absolute form, or the asterisk form that only OPTIONS has.
    init(parsing bytes: ArraySlice<UInt8>, method: HTTPMethod) throws(HTTPDropReason) {
        text = String(decoding: bytes, as: UTF8.self)
        if bytes.elementsEqual("*".utf8) {
            guard method == .options else { throw .invalidTarget }
            (path, query, authority) = ("*", nil, nil)
            return
        }
        var rest = bytes
        var host: String?
        if bytes.first != UInt8(ascii: "/") {
            guard let scheme = ["http://", "https://"].first(where: { bytes.hasPrefix(ignoringCase: $0) }) else {
                throw .invalidTarget
            }
            let afterScheme = rest.dropFirst(scheme.utf8.count)
            let end = afterScheme.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
            guard Self.isAuthority(afterScheme[..<end]) else { throw .invalidTarget }
            host = String(decoding: afterScheme[..<end], as: UTF8.self)
            rest = rest[end...]
        }
        authority = host
        let mark = rest.firstIndex(of: UInt8(ascii: "?"))
        let path = rest[..<(mark ?? rest.endIndex)]
        guard path.isPercentEncoded(\.isPathCharacter) else { throw .invalidTarget }
        self.path = path.isEmpty ? "/" : String(decoding: path, as: UTF8.self)
        guard let mark else {
            query = nil
            return
        }
        let query = rest[(mark + 1)...]
        guard query.isPercentEncoded(\.isQueryCharacter) else { throw .invalidTarget }
        self.query = String(decoding: query, as: UTF8.self)
    }

    /// Whether the bytes are `host [":" port]` with a host that is not empty (RFC 9112 §3.2, RFC 3986 §3.2).
    ///
    /// User information is refused: it has no place in a request, and `a@b` is read differently by different programs.
    static func isAuthority(_ bytes: ArraySlice<UInt8>) -> Bool {
        var host = bytes
        var port: ArraySlice<UInt8> = []
        if bytes.first == UInt8(ascii: "[") {
            guard let end = bytes.firstIndex(of: UInt8(ascii: "]")) else { return false }
            let address = bytes[(bytes.startIndex + 1)..<end]
            guard !address.isEmpty,
                address.allSatisfy({ $0.hexValue != nil || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") })
            else { return false }
            let rest = bytes[(end + 1)...]
            guard rest.isEmpty || rest.first == UInt8(ascii: ":") else { return false }
            port = rest.dropFirst()
        } else {
            if let colon = bytes.firstIndex(of: UInt8(ascii: ":")) {
                host = bytes[..<colon]
                port = bytes[(colon + 1)...]
            }
            guard !host.isEmpty, host.isPercentEncoded(\.isNameCharacter) else { return false }
        }
        guard port.count <= 5, port.allSatisfy(\.isDigit) else { return false }
        return port.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) } <= 65535
    }
}
