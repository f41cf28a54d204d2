public import Crypto
import EventLoop
public import FastPath
public import NetTypes
import SocketLookup
public import TURNServer
public import Transport

/// Where a relay service listens and what it bears.
public struct RelayConfiguration: Sendable {
    /// One address to listen on.
    public struct Listener: Sendable, Hashable {
        /// What clients speak there.
        public let transport: TransportProtocol
        /// The address and port.
        public let address: SocketAddress

        /// Makes a listener.
        public init(_ transport: TransportProtocol, _ address: SocketAddress) {
            self.transport = transport
            self.address = address
        }
    }

    /// How many DTLS associations and handshakes a shard bears; each is from an address that was proven.
    public struct DTLSLimits: Sendable {
        /// Associations in all, half-open ones included; about 50 KiB each.
        public var associations = 10_000
        /// Associations from one address (IPv4) or /64 (IPv6).
        public var associationsPerPrefix = 256
        /// Handshakes that are not complete; the oldest gives way.
        ///
        /// At worst half a MiB each.
        public var handshakes = 512
        /// Handshakes that are not complete from one address (IPv4) or /64 (IPv6).
        public var handshakesPerPrefix = 32
        /// How long a handshake may take.
        public var handshakeTime = TimeSpan.seconds(15)

        /// Makes the default limits.
        public init() {}
    }

    /// The rules of the protocol.
    public var server: TURNServerConfiguration
    /// Where to listen; every shard has all of them.
    public var listeners: [Listener]
    /// How many threads relay, each with a shard of its own.
    public var threads = 1
    /// The TLS context of TLS listeners.
    public var tls: TLSContextHolder?
    /// What streams may take before their first byte, and which proxies are believed; its time is `firstMessageTime`.
    public var halfOpen = StreamLobbyLimits()
    /// The DTLS context; with one, every UDP listener takes DTLS too, told by the first byte (RFC 7983 §7).
    public var dtls: DTLSContext?
    /// What bounds DTLS associations.
    public var dtlsLimits = DTLSLimits()
    /// The cookies, of one key for all shards, which share their ports.
    let dtlsCookies: DTLSCookies
    /// Streams that one shard has at most.
    public var streams = 10_000
    /// Streams from one address (IPv4) or /64 (IPv6) that one shard has at most.
    public var streamsPerPrefix = 256
    /// The longest message, in bytes with its header, that a stream without an allocation may bring.
    ///
    /// Requests are far shorter; a stranger's promise of 64 KiB is not waited for.
    public var strangerMessageBytes = 4096
    /// How long a stream may take from its acceptance to its first byte, and from there to its first whole message.
    public var firstMessageTime = TimeSpan.seconds(10)
    /// How long a stream without an allocation may be silent.
    public var idleTime = TimeSpan.seconds(60)
    /// Bytes of relayed data that may wait for a stream's client before the oldest is dropped; control messages do not
    /// count and may take twice that.
    public var streamQueueBytes = 128 * 1024
    /// How long relayed data may wait for a stream's client: what comes later than that helps no call.
    public var streamQueueTime = TimeSpan.milliseconds(500)
    /// The size asked for the buffers of listening UDP sockets, in bytes, shared by all their clients.
    public var listenerBufferBytes = 4 << 20
    /// The size asked for the receive buffer of relay sockets: a second of 4 Mbit/s, in bytes.
    public var relayBufferBytes = 512 << 10

    /// Whether relayed datagrams keep their DSCP and ECN bits (RFC 8656 §14), those of network control excepted.
    public var copiesTrafficClass = true
    /// Whether relayed datagrams have one hop less to go than they came with, as behind a router, and end where none is left.
    ///
    /// So a loop of relays ends by itself (RFC 8656 §21.1.7).
    public var decrementsHopLimit = true

    /// Whether the kernel may merge equal datagrams of one flow on their way in (UDP_GRO), as it finds them in bursts.
    public var mergesDatagrams = true

    /// How datagrams are received and sent.
    public var datagramBackEnd = DatagramBackEnd.epoll
    /// How long datagrams may wait for each other where more than 30 000 come in a second.
    ///
    /// It bounds what the relay adds to their latency for the sake of fewer wake-ups.
    public var gatheringTime = TimeSpan.microseconds(100)

    /// What brings peers' datagrams to the shards with `datagramBackEnd` `.socketLookup`; see `makePortLookup`.
    var portLookup: PortLookup?

    /// The kernel's relaying of bound channels, which replaces the shards' where it can; with it, no datagrams are merged,
    /// and `server.tellsChannelPaths` is set.
    public var fastPath: FastPath? {
        didSet {
            server.tellsChannelPaths = fastPath != nil
            mergesDatagrams = mergesDatagrams && fastPath == nil
        }
    }

    /// Makes a configuration with the documented defaults.
    public init(server: TURNServerConfiguration, listeners: [Listener]) {
        self.server = server
        self.listeners = listeners
        var entropy = Entropy.system
        dtlsCookies = DTLSCookies(entropy: &entropy)
    }
}

/// What is wrong with a relay's configuration, in words for the operator.
public enum RelayConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A listener for TLS or DTLS without an identity to show.
    case noIdentity(SocketAddress)

    /// What is wrong and what to do.
    public var description: String {
        switch self {
        case .noIdentity(let address): "TLS or DTLS at \(address) needs a certificate: give one, or do not listen there"
        }
    }
}

extension RelayConfiguration {
    /// Makes the look-up of sockets that all shards share, if the back end is that.
    ///
    /// Ports that other programs have now are never handed out, nor those that the listeners get; see `excludeListeners`.
    ///
    /// - Throws: `SystemError`, if the kernel or a lack of capabilities forbids it.
    mutating func makePortLookup() throws(SystemError) {
        guard datagramBackEnd == .socketLookup else { return }
        guard threads <= PortLookup.threadLimit else {
            throw SystemError("receive with more than \(PortLookup.threadLimit) threads (sk_lookup)", number: 7)
        }
        let lookup = try PortLookup(addresses: server.relayAddresses.map(\.local), ports: server.relayPorts)
        for (index, address) in lookup.addresses.enumerated() {
            for port in lookup.ports {
                do throws(SocketError) {
                    try UDPSocket.checkAvailable(SocketAddress(address, port: port))
                } catch {
                    if error.isAddressInUse { lookup.exclude(port, of: index) }
                }
            }
        }
        portLookup = lookup
    }

    /// Checks what the types cannot.
    ///
    /// - Throws: `RelayConfigurationError` or `TURNServerConfigurationError`, the first thing that is wrong.
    func validate() throws {
        try server.validate()
        for listener in listeners
        where listener.transport == .tls && tls == nil || listener.transport == .dtls && dtls == nil {
            throw RelayConfigurationError.noIdentity(listener.address)
        }
    }
}
