public import NetTypes
public import STUN

/// A `turn:` or `turns:` URI (RFC 7065).
public struct TURNURI: Hashable, Sendable {
    /// Whether the scheme is `turns`.
    public let isSecure: Bool
    /// Host and port.
    public let host: URIHost
    /// The transport that is named, `.udp` or `.tcp`; `nil` if none is.
    public let transport: TransportProtocol?

    /// Makes a URI; `.tls` stands for `turns:` over TCP.
    public init(_ host: URIHost, transport: TransportProtocol) {
        self.host = host
        isSecure = transport == .tls
        self.transport = transport == .tls ? .tcp : transport
    }

    /// The port that is given, else 3478, or 5349 for `turns`.
    public var port: UInt16 { host.port ?? (isSecure ? 5349 : 3478) }

    /// What carries the messages: UDP unless said otherwise; TLS over TCP for `turns`.
    ///
    /// `nil` for `turns` over UDP, which is DTLS (RFC 7350) and not supported.
    public var carrier: TransportProtocol? {
        switch (isSecure, transport) {
        case (false, .udp), (false, nil): .udp
        case (false, .tcp), (false, .tls): .tcp
        case (true, .tcp), (true, .tls), (true, nil): .tls
        case (true, .udp): nil
        }
    }

    /// Reads a URI; scheme and transport may be in capitals.
    ///
    /// - Throws: `URIError` about the part that is wrong, such as an unknown transport (turn 200).
    public init(_ text: String) throws(URIError) {
        guard let colon = text.firstIndex(of: ":") else { throw .badScheme(expected: "turn: or turns:") }
        switch text[..<colon].lowercased() {
        case "turn": isSecure = false
        case "turns": isSecure = true
        default: throw .badScheme(expected: "turn: or turns:")
        }
        let rest = text[text.index(after: colon)...]
        let query = rest.firstIndex(of: "?") ?? rest.endIndex
        host = try URIHost(rest[..<query])
        guard query < rest.endIndex else {
            transport = nil
            return
        }
        let parameter = rest[rest.index(after: query)...]
        guard parameter.lowercased().hasPrefix("transport=") else { throw .trailingText("?\(parameter)") }
        let name = parameter.dropFirst("transport=".count)
        switch name.lowercased() {
        case "udp": transport = .udp
        case "tcp": transport = .tcp
        default: throw .unknownTransport(String(name))
        }
    }
}

extension TURNURI: CustomStringConvertible {
    /// The URI's text.
    public var description: String {
        "\(isSecure ? "turns" : "turn"):\(host)" + (transport.map { "?transport=\($0)" } ?? "")
    }
}
