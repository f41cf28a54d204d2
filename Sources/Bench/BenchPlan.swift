public import Instruments
public import NetTypes

/// What a measurement does to a TURN server.
public struct BenchPlan: Sendable {
    /// What is measured.
    public enum Load: String, Sendable, CaseIterable {
        /// Data relayed over channels.
        case channels
        /// Data relayed in Send and Data indications.
        case indications
        /// Allocations made and given back.
        case allocations
        /// Binding requests.
        case bindings
    }

    /// Which way relayed data goes.
    public enum Direction: String, Sendable, CaseIterable {
        /// From the clients to their peers.
        case toPeers = "to-peers"
        /// From the peers to their clients.
        case toClients = "to-clients"
        /// Both ways in turn.
        case both
    }

    /// The server.
    public var target: ServerTarget
    /// The user's name.
    public var username: String
    /// The user's password.
    public var password: String
    /// What is measured.
    public var load = Load.channels
    /// Which way relayed data goes.
    public var direction = Direction.toPeers
    /// How many clients there are, each with one allocation or, for bindings, with one socket: 1 to 20000.
    public var clients = 100
    /// How many peers the allocations share: 1 to 1000.
    public var peers = 10
    /// The address that clients and peers are bound to; `nil` lets the system choose.
    public var localAddress: IPAddress?
    /// The address that peers are bound to, if it is another one.
    public var peerAddress: IPAddress?
    /// Addresses out of which each client has one of its own, all with one socket; `nil` gives each client a socket.
    ///
    /// A generator of a thousand sockets is slower than the server that it measures, and on one machine the server pays
    /// for waking them. For datagrams over plain UDP. The machine must have the addresses: it has all of 127.0.0.0/8, and
    /// others by `ip route add local PREFIX dev lo`. The first one is left out.
    public var clientBlock: IPPrefix?
    /// The payload of one packet in bytes: 24 to 60000.
    public var packetBytes = 172
    /// How many packets of a flow follow one another: 1 to 64.
    public var burst = 1
    /// Packets a second; `nil` sends whenever fewer than `window` are on their way.
    public var packetsPerSecond: Int?
    /// How many packets, or requests, may be on their way in a closed loop.
    public var window = 512
    /// How long the measured part lasts.
    public var duration = TimeSpan.seconds(5)
    /// How long packets flow before it.
    public var warmUp = TimeSpan.seconds(1)
    /// Whether a burst is handed to the kernel as one piece (UDP_SEGMENT), and merged packets are received (UDP_GRO).
    public var mergesPackets = false
    /// The process of the server on this machine, whose processor time is read.
    public var serverProcess: Int32?
    /// Kernel threads whose processor time is the server's too, by name, such as `napi/s0`.
    public var serverThreads: [String] = []
    /// A name for the result, such as that of the server.
    public var label = ""

    /// Makes a plan with the defaults.
    public init(_ target: ServerTarget, username: String, password: String) {
        self.target = target
        self.username = username
        self.password = password
    }

    /// The address of a client out of the block.
    func address(ofClient index: Int) -> IPAddress? {
        guard let base = clientBlock?.base else { return nil }
        let low = base.low &+ UInt64(index) &+ 1
        return base.family == .ipv4
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) : IPAddress(ipv6: base.high, low)
    }

    /// The client that has the address; `nil` if none has.
    func client(at address: IPAddress) -> Int? {
        guard let block = clientBlock, address.family == block.base.family, address.high == block.base.high else {
            return nil
        }
        let index = address.low &- block.base.low &- 1
        return index < UInt64(clients) ? Int(index) : nil
    }

    /// Whether the block has an address for each client.
    public var fitsClientBlock: Bool {
        guard let block = clientBlock else { return true }
        let bits = block.base.byteCount * 8 - block.length
        return bits >= 32 || clients < 1 << bits
    }
}

/// Why a measurement could not be made, in a sentence.
public struct BenchError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The sentence.
    public let description: String

    init(_ description: String) { self.description = description }
}
