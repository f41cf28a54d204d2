/// What can be fuzzed; raw values are the folders in `Fuzz` and what `FLOE_FUZZ_TARGET` names.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// The STUN decoder with all attributes, integrity and nonces.
    case stun = "STUN"
    /// ChannelData, stream framing and the attributes of TURN.
    case turn = "TURN"
    /// The TURN server's engine, its driver, clients and peers played by the bytes.
    case turnServer = "TURNServer"
    /// Two ICE agents, their network, their signaling and time played by the bytes.
    case ice = "ICE"
    /// The lines of ICE candidates and descriptions.
    case candidate = "Candidate"
    /// Both directions of HTTP/1.1.
    case http = "HTTP"
    /// The header of a proxy at the beginning of a stream.
    case proxyProtocol = "ProxyProtocol"
    /// A WebSocket connection, as server and as client.
    case webSocket = "WebSocket"
    /// The signaling engine, its clients and time played by the bytes.
    case signaling = "Signaling"
    /// The signaling messages' JSON, both directions.
    case signalingMessages = "SignalingMessages"
    /// A TLS session, as server and as client, before it is established.
    case tls = "TLS"
    /// URIs, and the name servers' answers to what a resolution of them asks.
    case resolution = "Resolution"
    /// A client that finds out about NATs, servers and time played by the bytes.
    case natDiscovery = "NATDiscovery"
    /// Access tokens of RFC 7635, sealed and open.
    case accessToken = "AccessToken"
    /// A client and a server of DTLS on a network that the bytes rule, cookies and all.
    case dtls = "DTLS"
    /// Multicast DNS: its datagrams and time played by the bytes.
    case mdns = "MDNS"
    /// Port mapping: the gateway played by the bytes.
    case portMapping = "PortMapping"
    /// A whole ICE session: servers, peer and connections played by the bytes.
    case connectivity = "Connectivity"
    /// Addresses, encodings and command lines, as people type them.
    case text = "Text"

    /// Runs one input; traps if it shows a bug, returns whether the input made sense.
    public func run(_ input: Span<UInt8>) -> Bool {
        switch self {
        case .stun: runSTUN(input)
        case .turn: runTURN(input)
        case .turnServer: runTURNServer(input)
        case .ice: runICE(input)
        case .candidate: runCandidate(input)
        case .http: runHTTP(input)
        case .proxyProtocol: runProxyProtocol(input)
        case .webSocket: runWebSocket(input)
        case .signaling: runSignaling(input)
        case .signalingMessages: runSignalingMessages(input)
        case .tls: runTLS(input)
        case .resolution: runResolution(input)
        case .natDiscovery: runNATDiscovery(input)
        case .accessToken: runAccessToken(input)
        case .dtls: runDTLS(input)
        case .mdns: runMDNS(input)
        case .portMapping: runPortMapping(input)
        case .connectivity: runConnectivity(input)
        case .text: runText(input)
        }
    }
}
