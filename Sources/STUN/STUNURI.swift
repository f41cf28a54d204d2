public import NetTypes

/// Host and port of a `stun:` or `turn:` URI, as the text has them (RFC 3986 §3.2.2, §3.2.3).
public struct URIHost: Hashable, Sendable {
    /// A name or an address, IPv6 without brackets.
    public let name: String
    /// The port, `nil` if none is given.
    public let port: UInt16?

    /// Makes a host.
    public init(_ name: String, port: UInt16? = nil) {
        self.name = name
        self.port = port
    }

    /// The address that the name is, `nil` if it must be looked up.
    public var address: IPAddress? { IPAddress(name) }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// - Throws: `URIError` about the part that is wrong.
    public init(_ text: Substring) throws(URIError) {
        var rest = text
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw .badHost(String(text)) }
            name = String(text[text.index(after: text.startIndex)..<end])
            guard IPAddress(name)?.family == .ipv6 else { throw .badHost(name) }
            rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw .badHost(String(text)) }
        } else {
            let end = text.firstIndex(of: ":") ?? text.endIndex
            name = String(text[..<end])
            guard Self.isHost(name) else { throw .badHost(String(text)) }
            rest = text[end...]
        }
        guard let digits = rest.isEmpty ? nil : rest.dropFirst() else {
            port = nil
            return
        }
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = UInt16(digits), number > 0 else {
            throw .badPort(String(digits))
        }
        port = number
    }

    /// Letters, digits, hyphens, dots and underscores: what a name or an IPv4 address has; nothing is percent-decoded.
    private static func isHost(_ text: String) -> Bool {
        guard (1...255).contains(text.utf8.count), text.utf8.first != UInt8(ascii: "-") else { return false }
        let isName = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard isName, !text.hasPrefix("."), !text.contains("..") else { return false }
        // Only digits and dots, but no address: "1.2.3" would be a name that no resolver should be asked for.
        let looksNumeric = text.utf8.allSatisfy { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
        return !looksNumeric || IPAddress(text) != nil
    }
}

extension URIHost: CustomStringConvertible {
    /// The host with its port, IPv6 in brackets.
    public var description: String {
        let host = name.contains(":") ? "[\(name)]" : name
        return port.map { "\(host):\($0)" } ?? host
    }
}

/// What is wrong with a URI.
public enum URIError: Error, Hashable, Sendable {
    /// It begins with none of the schemes.
    case badScheme(expected: String)
    /// The host is empty or no host; IPv6 stands in brackets.
    case badHost(String)
    /// The port is not a number from 1 to 65535.
    case badPort(String)
    /// The transport is neither UDP nor TCP.
    case unknownTransport(String)
    /// Something follows that has no meaning.
    case trailingText(String)
}

extension URIError: CustomStringConvertible {
    /// What is wrong and how it should be.
    public var description: String {
        switch self {
        case .badScheme(let expected): "the URI must begin with \(expected)"
        case .badHost(let text): "'\(text)' is no host; give a name, an IPv4 address or an IPv6 address in brackets"
        case .badPort(let text): "'\(text)' is no port; give a number from 1 to 65535"
        case .unknownTransport(let text): "the transport '\(text)' is not known; use udp or tcp"
        case .trailingText(let text): "'\(text)' has no meaning in this URI; remove it"
        }
    }
}

/// A `stun:` or `stuns:` URI (RFC 7064).
public struct STUNURI: Hashable, Sendable {
    /// Whether the scheme is `stuns`: TLS over TCP, or DTLS.
    public let isSecure: Bool
    /// Host and port.
    public let host: URIHost

    /// Makes a URI.
    public init(_ host: URIHost, isSecure: Bool = false) {
        self.host = host
        self.isSecure = isSecure
    }

    /// The port that is given, else 3478, or 5349 for `stuns`.
    public var port: UInt16 { host.port ?? (isSecure ? 5349 : 3478) }

    /// Reads a URI; the scheme may be in capitals.
    ///
    /// - Throws: `URIError` about the part that is wrong.
    public init(_ text: String) throws(URIError) {
        guard let colon = text.firstIndex(of: ":") else { throw .badScheme(expected: "stun: or stuns:") }
        switch text[..<colon].lowercased() {
        case "stun": isSecure = false
        case "stuns": isSecure = true
        default: throw .badScheme(expected: "stun: or stuns:")
        }
        let rest = text[text.index(after: colon)...]
        if let query = rest.firstIndex(of: "?") { throw .trailingText(String(rest[query...])) }
        host = try URIHost(rest)
    }
}

extension STUNURI: CustomStringConvertible {
    /// The URI's text.
    public var description: String { "\(isSecure ? "stuns" : "stun"):\(host)" }
}
