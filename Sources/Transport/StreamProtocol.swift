/// What a stream carries, on a port that serves more than one thing (RFC 7443, RFC 7301).
public enum StreamProtocol: Sendable, Hashable {
    /// STUN, and with it TURN.
    case turn
    /// HTTP, and with it WebSocket.
    case http

    /// Tells by what TLS agreed on, and else by the first byte.
    ///
    /// STUN begins with 0 to 3 (RFC 8489 §5). ChannelData (64 to 79) begins no stream, since it takes a channel that was
    /// bound on the same stream; so these bytes, with the letters from A to O among them, are HTTP's, like all others.
    public init(applicationProtocol: String?, firstByte: UInt8) {
        switch applicationProtocol {
        case "stun.turn", "stun.nat-discovery": self = .turn
        case .some: self = .http
        case nil: self = firstByte <= 3 ? .turn : .http
        }
    }
}

extension StreamConnection {
    /// What the stream carries, once its first byte is known.
    public var carriedProtocol: StreamProtocol? {
        guard let firstByte else { return nil }
        return StreamProtocol(applicationProtocol: applicationProtocol, firstByte: firstByte)
    }
}
