import Diagnostics
public import NetTypes

/// What streams that have not said anything yet may take, and which proxies are believed.
public struct StreamLobbyLimits: Sendable {
    /// Half-open streams of all clients; with more, the one that has waited longest is closed.
    public var streams = 2048
    /// Half-open streams of one prefix (/24 of IPv4, /56 of IPv6).
    public var streamsPerPrefix = 256
    /// TLS handshakes that one prefix may begin in a second, in the long run.
    public var handshakesPerSecond = 50.0
    /// TLS handshakes that one prefix may begin at once after a pause.
    public var handshakeBurst = 500.0
    /// From the acceptance to the first byte of the application, the proxy's header and the handshake included.
    public var time = TimeSpan.seconds(10)
    /// Whether the limits of a prefix leave loopback out, where a proxy of this machine comes from.
    public var exemptsLoopback = true
    /// From where connections must begin with the header of the PROXY protocol; from elsewhere none is read.
    public var proxies: [IPPrefix] = []

    /// Makes the defaults.
    public init() {}

    /// Whether connections from an address must begin with a proxy's header.
    public func isProxy(_ address: IPAddress) -> Bool { proxies.contains { $0.contains(address.unmapped) } }
}

/// Why a stream ends before its first byte; raw values are the names in metrics.
public enum StreamLobbyDrop: String, DropReason {
    /// Closed for a newer one, because there was no room for both.
    case displacedHalfOpen
    /// More half-open streams than one prefix may have.
    case tooManyHalfOpenOfPrefix
    /// More TLS handshakes than one prefix may begin.
    case tooManyHandshakesOfPrefix
    /// No byte of an application in time; with TLS, none though the handshake was complete or never began.
    case silentStream
    /// A TLS handshake that was begun and not completed in time.
    case handshakeTimeout
    /// A TLS handshake that failed.
    case tlsFailure
    /// A connection from a proxy's address without a proxy's header, or without a whole one in time.
    case noProxyHeader
    /// A proxy's header that is not right.
    case badProxyHeader
    /// The client has gone.
    case goneHalfOpen
    /// It could not be watched.
    case noDescriptor
}
