/// Where a page comes from: scheme, host and port (RFC 6454), as browsers name it in the Origin field.
public struct HTTPOrigin: Sendable, Hashable {
    /// `http` or `https`.
    public let scheme: String
    /// The host in lower case.
    public let host: String
    /// The port, the scheme's own if none was written.
    public let port: Int

    /// Makes the origin of a server that `authority` (a Host field) names; `nil` if it is malformed.
    public init?(scheme: String, authority: String) {
        let scheme = scheme.lowercased()
        let bytes = Array(authority.utf8)[...]
        guard scheme == "http" || scheme == "https", HTTPTarget.isAuthority(bytes) else { return nil }
        let end = bytes.lastIndex(of: UInt8(ascii: "]")) ?? bytes.startIndex
        let colon = bytes[end...].firstIndex(of: UInt8(ascii: ":"))
        let digits = colon.map { String(decoding: bytes[($0 + 1)...], as: UTF8.self) } ?? ""
        self.scheme = scheme
        host = String(decoding: bytes[..<(colon ?? bytes.endIndex)], as: UTF8.self).lowercased()
        port = Int(digits) ?? (scheme == "https" ? 443 : 80)
    }

    /// Reads an Origin field such as `https://example.org:8443`; `nil` for `null` and everything else.
    public init?(_ text: String) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")), text[colon...].hasPrefix("://") else {
            return nil
        }
        self.init(scheme: String(text[..<colon]), authority: String(text[colon...].dropFirst(3)))
    }
}
