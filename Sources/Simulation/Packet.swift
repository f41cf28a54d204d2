public import NetTypes

/// What an IP packet carries.
public enum IPProtocol: UInt8, Sendable, Hashable, CaseIterable {
    /// Datagrams.
    case udp = 17
    /// Streams.
    case tcp = 6
    /// Errors of the network; ICMPv6 as well.
    case icmp = 1
}

/// Congestion notification, as the two bits of the IP header have it (RFC 3168 §5).
public enum ECNCodepoint: UInt8, Sendable, Hashable, CaseIterable {
    /// The sender does not take part.
    case notCapable = 0
    /// The sender takes part, of the new kind (L4S).
    case capable1 = 1
    /// The sender takes part.
    case capable0 = 2
    /// A queue on the way was full.
    case congestionExperienced = 3
}

/// The flags of a TCP segment.
public struct TCPFlags: OptionSet, Sendable, Hashable {
    /// The bits as in the header.
    public let rawValue: UInt8

    /// Makes flags of header bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// No more data will come.
    public static let finish = TCPFlags(rawValue: 1)
    /// Synchronise sequence numbers.
    public static let synchronize = TCPFlags(rawValue: 2)
    /// The connection is reset.
    public static let reset = TCPFlags(rawValue: 4)
    /// Hand the data over at once.
    public static let push = TCPFlags(rawValue: 8)
    /// The acknowledgement number counts.
    public static let acknowledge = TCPFlags(rawValue: 16)
}

/// The header of a TCP segment without its ports.
public struct TCPHeader: Sendable, Hashable {
    /// The number of the first byte.
    public var sequence: UInt32
    /// The number of the next byte that is expected.
    public var acknowledgement: UInt32
    /// The flags.
    public var flags: TCPFlags
    /// How many bytes the sender takes beyond `acknowledgement`.
    public var window: UInt16

    /// Makes a header.
    public init(sequence: UInt32, acknowledgement: UInt32, flags: TCPFlags, window: UInt16 = 65_535) {
        self.sequence = sequence
        self.acknowledgement = acknowledgement
        self.flags = flags
        self.window = window
    }
}

/// What a box on the way has to say about a packet.
public enum ICMPReason: Sendable, Hashable {
    /// There is no way to the host.
    case hostUnreachable
    /// Nothing listens on the port.
    case portUnreachable
    /// A firewall forbids it.
    case prohibited
    /// The packet is longer than the next link takes; so many bytes would go.
    case packetTooBig(mtu: Int)
    /// Too many hops.
    case timeExceeded
}

/// An ICMP error message: the reason, and of which packet it speaks.
public struct ICMPMessage: Sendable, Hashable {
    /// What happened.
    public var reason: ICMPReason
    /// The protocol of the packet that it speaks of.
    public var quotedProtocol: IPProtocol
    /// The source of that packet.
    public var quotedSource: SocketAddress
    /// Where that packet was to go.
    public var quotedDestination: SocketAddress
    /// The first bytes of what it carried.
    public var quotedPayload: [UInt8]
}

/// One IP packet on its way.
public struct Packet: Sendable, Hashable {
    /// What follows the IP header.
    public enum Body: Sendable, Hashable {
        /// A UDP datagram.
        case udp
        /// A TCP segment.
        case tcp(TCPHeader)
        /// An ICMP error; the ports of the packet's addresses mean nothing.
        indirect case icmp(ICMPMessage)
    }

    /// The sender.
    public var source: SocketAddress
    /// The receiver.
    public var destination: SocketAddress
    /// The header behind that of IP.
    public var body: Body
    /// The bytes behind the headers.
    public var payload: [UInt8]
    /// How many more hops are allowed.
    public var timeToLive: UInt8
    /// Congestion notification.
    public var ecn: ECNCodepoint
    /// Whether routers must not cut the packet.
    public var dontFragment: Bool

    /// Makes a packet.
    public init(
        _ body: Body = .udp,
        from source: SocketAddress,
        to destination: SocketAddress,
        payload: [UInt8] = [],
        timeToLive: UInt8 = 64,
        ecn: ECNCodepoint = .notCapable,
        dontFragment: Bool = false
    ) {
        self.body = body
        self.source = source
        self.destination = destination
        self.payload = payload
        self.timeToLive = timeToLive
        self.ecn = ecn
        self.dontFragment = dontFragment
    }

    /// The protocol of the body.
    public var ipProtocol: IPProtocol {
        switch body {
        case .udp: .udp
        case .tcp: .tcp
        case .icmp: .icmp
        }
    }

    /// The length with all headers.
    public var byteCount: Int {
        let ip = destination.family == .ipv4 ? 20 : 40
        switch body {
        case .udp: return ip + 8 + payload.count
        case .tcp: return ip + 20 + payload.count
        case .icmp(let message): return ip + 8 + ip + 8 + message.quotedPayload.count
        }
    }

    /// The flags of a TCP segment, none for other packets.
    var tcpFlags: TCPFlags {
        if case .tcp(let header) = body { header.flags } else { [] }
    }

    /// An error message about this packet, from `router` to its sender; `nil` if none may be sent (RFC 1122 §3.2.2).
    func error(_ reason: ICMPReason, from router: IPAddress) -> Packet? {
        if case .icmp = body { return nil }
        guard !destination.ip.isMulticast, router.family == source.family else { return nil }
        let message = ICMPMessage(
            reason: reason,
            quotedProtocol: ipProtocol,
            quotedSource: source,
            quotedDestination: destination,
            quotedPayload: ipProtocol == .udp ? Array(payload.prefix(64)) : []
        )
        return Packet(.icmp(message), from: SocketAddress(router, port: 0), to: source)
    }

    /// The reset that answers this segment (RFC 9293 §3.10.7.1); `nil` for a reset.
    func resetAnswer() -> Packet? {
        guard case .tcp(let header) = body, !header.flags.contains(.reset) else { return nil }
        let length = UInt32(payload.count) &+ (header.flags.isDisjoint(with: [.synchronize, .finish]) ? 0 : 1)
        let answer =
            header.flags.contains(.acknowledge)
            ? TCPHeader(sequence: header.acknowledgement, acknowledgement: 0, flags: .reset, window: 0)
            : TCPHeader(
                sequence: 0,
                acknowledgement: header.sequence &+ length,
                flags: [.reset, .acknowledge],
                window: 0
            )
        return Packet(.tcp(answer), from: destination, to: source)
    }
}

extension IPAddress {
    /// Whether this is in 224.0.0.0/4 or ff00::/8.
    var isMulticast: Bool { family == .ipv4 ? low &>> 28 == 0xE : high &>> 56 == 0xFF }
}
