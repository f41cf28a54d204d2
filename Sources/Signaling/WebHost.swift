public import NetTypes

/// A host as it stands in a URL: a DNS name, an IPv4 address or an IPv6 address in brackets; nothing else gets through.
public struct WebHost: Hashable, Sendable, LosslessStringConvertible {
    /// The host in lower case, fit to be put into a URL.
    public let description: String

    /// Reads a host, with or without a port behind it, as the `Host` header has it (RFC 9110 §7.2).
    ///
    /// The port is checked and dropped. `nil` for anything that is not exactly a host.
    public init?(_ text: String) {
        guard text.utf8.count <= 300 else { return nil }
        var host = text[...]
        var port: Substring?
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]") else { return nil }
            let rest = host[host.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            port = rest.isEmpty ? nil : rest.dropFirst()
            host = host[...end]
        } else if let colon = host.firstIndex(of: ":") {
            port = host[host.index(after: colon)...]
            host = host[..<colon]
        }
        if let port {
            guard (1...5).contains(port.utf8.count), port.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                UInt16(port) != nil
            else { return nil }
        }
        guard let read = Self.bracketed(host) ?? Self.name(host) else { return nil }
        description = read
    }

    /// Makes the host that an address is.
    public init(_ address: IPAddress) {
        description = address.family == .ipv4 ? "\(address)" : "[\(address)]"
    }

    private static func bracketed(_ host: Substring) -> String? {
        guard host.hasPrefix("["), host.hasSuffix("]"), let address = IPAddress(text: host.dropFirst().dropLast()),
            address.family == .ipv6
        else { return nil }
        return "[\(address)]"
    }

    /// A dotted IPv4 address or a name of letters, digits and hyphens (RFC 1123 §2.1).
    private static func name(_ host: Substring) -> String? {
        let host = host.hasSuffix(".") ? host.dropLast() : host
        guard (1...253).contains(host.utf8.count) else { return nil }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        guard labels.allSatisfy(isLabel) else { return nil }
        // Browsers read a name whose last label is a number as an IPv4 address: such a name must be one.
        if labels.last?.utf8.allSatisfy({ (0x30...0x39).contains($0) }) == true {
            return IPAddress(text: host).map(\.description)
        }
        return host.lowercased()
    }

    private static func isLabel(_ label: Substring) -> Bool {
        guard (1...63).contains(label.utf8.count), label.utf8.first != UInt8(ascii: "-"),
            label.utf8.last != UInt8(ascii: "-")
        else { return false }
        return label.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
    }
}
