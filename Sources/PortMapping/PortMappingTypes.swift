public import NetTypes

/// One mapping that a `PortMapper` was asked for.
public struct MappingID: RawRepresentable, Hashable, Sendable, Comparable {
    /// A number that is not used again.
    public let rawValue: UInt32

    /// Takes a number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Whether the left one was asked for first.
    public static func < (left: MappingID, right: MappingID) -> Bool { left.rawValue < right.rawValue }
}

/// What is mapped; raw values are the numbers of the IP header.
public enum MappedTransport: UInt8, Sendable, Hashable, CaseIterable {
    /// TCP.
    case tcp = 6
    /// UDP.
    case udp = 17
}

/// How a gateway is asked.
public enum PortMappingProtocol: UInt8, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Port Control Protocol (RFC 6887).
    case pcp
    /// NAT Port Mapping Protocol (RFC 6886).
    case natPMP
    /// The Internet Gateway Device of UPnP, version 1 or 2.
    case upnp

    /// The name as people write it.
    public var description: String {
        switch self {
        case .pcp: "PCP"
        case .natPMP: "NAT-PMP"
        case .upnp: "UPnP"
        }
    }
}

/// What a gateway has granted.
public struct PortMapping: Hashable, Sendable {
    /// The address and port under which the outside reaches us, as the gateway says.
    public let external: SocketAddress
    /// For how long without renewal, in seconds; 0 for a mapping without end.
    public let lifetimeSeconds: UInt32
    /// Who has granted it.
    public let via: PortMappingProtocol
    /// The external address is itself private or shared: there is another NAT behind this one (ice 182).
    public let isBehindAnotherNAT: Bool

    /// Makes a mapping, as a driver with a gateway of its own kind does.
    public init(
        external: SocketAddress,
        lifetimeSeconds: UInt32,
        via: PortMappingProtocol,
        isBehindAnotherNAT: Bool = false
    ) {
        self.external = external
        self.lifetimeSeconds = lifetimeSeconds
        self.via = via
        self.isBehindAnotherNAT = isBehindAnotherNAT
    }
}

/// Why a protocol made no mapping.
public enum PortMappingFailure: Error, Hashable, Sendable {
    /// Nobody has answered.
    case silent
    /// The gateway does not speak this protocol, or not this version.
    case notSupported
    /// There is another NAT between us and the gateway that answers (ADDRESS_MISMATCH, ice 176).
    case hiddenNAT
    /// The gateway refuses; the protocol's own number tells why.
    case refused(code: UInt32)
    /// The gateway's answer cannot be true: no such external address or port can be reached.
    case impossibleAnswer
    /// The gateway's answer is malformed, or too long.
    case malformedAnswer
    /// The gateway's web server has closed the connection, or has not answered.
    case connectionLost
    /// The mapping ran out and was not renewed.
    case expired
}

extension PortMappingFailure: CustomStringConvertible {
    /// What went wrong, in words.
    public var description: String {
        switch self {
        case .silent: "no gateway answered"
        case .notSupported: "the gateway does not support it"
        case .hiddenNAT: "another NAT stands before the gateway that answers"
        case .refused(let code): "the gateway refused (code \(code))"
        case .impossibleAnswer: "the gateway named an address that cannot be true"
        case .malformedAnswer: "the gateway's answer is malformed"
        case .connectionLost: "the gateway closed the connection or did not answer"
        case .expired: "the gateway did not renew it"
        }
    }
}

/// What a `PortMapper` tells.
public enum PortMapperEvent: Hashable, Sendable {
    /// There is a mapping, or the one there was has changed.
    case mapped(MappingID, PortMapping)
    /// No protocol has made the mapping; nothing is asked any more until the gateway announces itself.
    case failed(MappingID, [PortMappingProtocol: PortMappingFailure])
    /// The mapping is no more.
    case lost(MappingID, PortMappingFailure)
    /// `close` has done what it could.
    case closed
}

/// A TCP connection to the gateway's web server, named by the mapper.
public struct PortMapperStream: RawRepresentable, Hashable, Sendable {
    /// A number that is not used again.
    public let rawValue: UInt32

    /// Takes a number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// What a mapper wants done with TCP connections.
public enum PortMapperAction: Hashable, Sendable {
    /// Connect from the client's address; answer with `streamOpened` or `streamClosed`.
    case open(PortMapperStream, to: SocketAddress)
    /// Send these bytes.
    case send(PortMapperStream, [UInt8])
    /// Close; nothing is to be answered.
    case close(PortMapperStream)
}

/// Why a datagram was dropped.
public enum PortMapperDrop: String, DropReason {
    /// It does not come from the gateway.
    case wrongSource
    /// It is none of the protocols', or malformed.
    case malformed
    /// A PCP response of another client, nonce or mapping (ice 177).
    case noSuchRequest
    /// A datagram or an event that nobody took in time.
    case notTaken
    /// As many mappings as are allowed.
    case limitReached
    /// A stream that is not ours, or no more.
    case unknownStream
}

/// Everything that a `PortMapper` is told before it begins.
public struct PortMapperConfiguration: Sendable {
    /// The gateway: the next hop of the default route.
    public var gateway: SocketAddress
    /// Our own address on the interface that leads there.
    public var client: IPAddress
    /// Which protocols are tried.
    public var protocols: Set<PortMappingProtocol>
    /// For how long to ask, in seconds; half of that later each mapping is renewed.
    public var lifetimeSeconds: UInt32 = 7200
    /// When a mapping that nobody has granted has failed.
    public var deadline = TimeSpan.seconds(5)
    /// How much longer PCP is tried alone before NAT-PMP: a gateway may take both, and would map twice.
    public var natPMPDelay = TimeSpan.milliseconds(250)
    /// How long one HTTP exchange may take.
    public var exchangeTime = TimeSpan.seconds(3)
    /// How long `close` waits for the gateway.
    public var closeTime = TimeSpan.seconds(2)
    /// What the gateway's list of mappings calls ours (UPnP).
    public var label = "Floe"
    /// Mappings at a time.
    public var limit = 64

    /// Makes a configuration; the gateway's own ports are known, so that of `gateway` is not looked at.
    public init(
        gateway: SocketAddress,
        client: IPAddress,
        protocols: Set<PortMappingProtocol> = Set(PortMappingProtocol.allCases)
    ) {
        self.gateway = gateway
        self.client = client
        self.protocols = client.family == .ipv4 ? protocols : protocols.intersection([.pcp])
    }
}
