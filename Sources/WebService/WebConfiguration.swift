public import Crypto
public import HTTP
public import NetTypes
public import Signaling
public import Transport

/// Where the web service listens and what it bears.
public struct WebConfiguration: Sendable {
    /// One address to listen on.
    public struct Listener: Sendable, Hashable {
        /// The address and port.
        public let address: SocketAddress
        /// Whether TLS is spoken there.
        public let isTLS: Bool

        /// Makes a listener.
        public init(_ address: SocketAddress, isTLS: Bool) {
            self.address = address
            self.isTLS = isTLS
        }
    }

    /// Where to listen.
    public var listeners: [Listener]
    /// Who may do what.
    public var policy: WebPolicy
    /// The TLS context of TLS listeners.
    public var tls: TLSContextHolder?
    /// Takes a stream that carries TURN (RFC 7443, or by its first byte); without it everything is taken for HTTP.
    ///
    /// Returns `false` if the stream cannot be taken and was closed.
    public var relay: (@Sendable (consuming StreamConnection) -> Bool)?
    /// What connections may take before their first byte, and which proxies are believed; its time is `handshakeTime`.
    public var halfOpen = StreamLobbyLimits()
    /// How much and how long an HTTP request may take.
    public var http = HTTPLimits()
    /// What signaling clients may do.
    public var signaling = SignalingLimits()
    /// Connections of all kinds at one time.
    public var connections = 20_000
    /// Connections from one address (IPv4) or /64 (IPv6).
    public var connectionsPerPrefix = 512
    /// Bytes that wait for clients to read, of all connections together, above which slow readers are cut.
    public var queuedBytes = 256 << 20
    /// How long a connection may take to its first byte, the TLS handshake included.
    public var handshakeTime = TimeSpan.seconds(10)
    /// How long a client may take to end its side after the server has ended its own.
    public var lingerTime = TimeSpan.seconds(2)
    /// How long a stop may take before connections are cut.
    public var stopTime = TimeSpan.seconds(3)

    /// Makes a configuration with the documented defaults.
    public init(listeners: [Listener], policy: WebPolicy) {
        self.listeners = listeners
        self.policy = policy
    }
}
