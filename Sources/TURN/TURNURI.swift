public import NetTypes
public import STUN

/// A `turn:` or `turns:` URI (RFC 7065).
///
/// Departure: RFC 7350 §4.6.1 refuses addresses as hosts over DTLS. Certificates may name addresses as well, and are
/// checked for them.
public struct TURNURI: Hashable, Sendable {
    /// Whether the scheme is `turns`.
    public let isSecure: Bool
    /// Host and port.
    public let host: URIHost
    /// The transport that is named, `.udp` or `.tcp`; `nil` if none is.
    public let transport: TransportProtocol?

    /// Makes a URI; `.tls` stands for `turns:` over TCP, `.dtls` for `turns:` over UDP.
    public init(_ host: URIHost, transport: TransportProtocol) {
        self.host = host
        isSecure = transport.isSecure
        self.transport = transport.isStream ? .tcp : .udp
    }

    /// The port that is given, else 3478, or 5349 for `turns`.
    public var port: UInt16 { host.port ?? (isSecure ? 5349 : 3478) }

    /// What carries the messages: UDP unless said otherwise; TLS for `turns`, or DTLS if that names UDP (RFC 7350 §4.6.1).
    public var carrier: TransportProtocol {
        let isStream = transport == .tcp || transport == nil && isSecure
        return isStream ? (isSecure ? .tls : .tcp) : isSecure ? .dtls : .udp
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
