import Bytes
public import NetTypes

/// A gateway's side of PCP, NAT-PMP and UPnP as a value, for simulations and tests: its table and its answers.
///
/// What it does wrong on purpose is set in `Behaviour`. It keeps no time of its own: calls say what time it is.
public struct PortMappingGateway: Sendable {
    /// What the gateway speaks, and how it errs.
    public struct Behaviour: Sendable {
        /// The protocols it answers; others it leaves unanswered.
        public var protocols = Set(PortMappingProtocol.allCases)
        /// Whether a PCP request is answered by UNSUPP_VERSION where PCP is not spoken but NAT-PMP is.
        public var refusesPCP = true
        /// The longest lifetime it grants, in seconds.
        public var longestLifetime: UInt32 = 86_400
        /// What PCP, NAT-PMP (plus 0) and UPnP answer in place of a grant; 0 for none.
        public var pcpResult: UInt8 = 0
        /// The result code of NAT-PMP.
        public var natPMPResult: UInt16 = 0
        /// The error of AddPortMapping.
        public var upnpError: UInt32 = 0
        /// Whether UPnP knows only mappings without end (error 725).
        public var onlyPermanentLeases = false
        /// Whether it is an IGD of version 2, with AddAnyPortMapping.
        public var isVersion2 = false
        /// Where it says that its control URL is; `nil` for the truth.
        public var controlURL: String?
        /// Bytes of rubbish before the services of the description.
        public var descriptionPadding = 0

        /// A gateway that speaks everything and errs nowhere.
        public init() {}
    }

    /// One entry of its table.
    public struct Entry: Hashable, Sendable {
        /// What is mapped.
        public let transport: MappedTransport
        /// Where packets from outside go.
        public let inside: SocketAddress
        /// The port outside.
        public let externalPort: UInt16
        /// When it ends; `distantFuture` for never.
        public let expires: Instant
        let nonce: PCPNonce?
    }

    /// The address that inside hosts use as gateway.
    public let inside: IPAddress
    /// The address that the world sees, as far as the gateway knows.
    public var external: IPAddress
    /// How it behaves.
    public var behaviour: Behaviour
    /// The port of its web server.
    public let httpPort: UInt16 = 5000
    private var entries: [Entry] = []
    private var started: Instant

    /// Makes a gateway whose table is empty.
    public init(inside: IPAddress, external: IPAddress, behaviour: Behaviour = Behaviour(), at now: Instant) {
        self.inside = inside
        self.external = external
        self.behaviour = behaviour
        started = now
    }

    /// All mappings that are in force.
    public func mappings(at now: Instant) -> [Entry] { entries.filter { $0.expires > now } }

    /// Where a packet from outside to this port goes.
    public func destination(_ transport: MappedTransport, port: UInt16, at now: Instant) -> SocketAddress? {
        mappings(at: now).first { $0.transport == transport && $0.externalPort == port }?.inside
    }

    /// Forgets everything, as after a power cut; returns the announcements to send to the group of each protocol.
    public mutating func reboot(external: IPAddress? = nil, at now: Instant) -> [[UInt8]] {
        entries = []
        started = now
        self.external = external ?? self.external
        var announcements: [[UInt8]] = []
        if behaviour.protocols.contains(.pcp) {
            let response = PCPMessage.Response(
                version: 2,
                opcode: PCPMessage.announce,
                result: 0,
                lifetimeSeconds: 0,
                epoch: 0,
                map: nil
            )
            announcements.append(PCPMessage.response(response))
        }
        if behaviour.protocols.contains(.natPMP) {
            let response = NATPMPMessage.Response(
                operation: 0,
                result: 0,
                epoch: 0,
                address: self.external,
                mapping: nil
            )
            announcements.append(NATPMPMessage.response(response))
        }
        return announcements
    }

    /// Answers a datagram to port 5351 of the gateway.
    public mutating func answer(_ datagram: Span<UInt8>, from client: SocketAddress, at now: Instant) -> [UInt8]? {
        guard datagram.count > 0 else { return nil }
        let epoch = UInt32(truncatingIfNeeded: (now - started).seconds)
        if datagram[0] == 0 {
            guard behaviour.protocols.contains(.natPMP) else {
                guard behaviour.protocols.contains(.pcp) else { return nil }
                return PCPMessage.response(refusal(PCPResult.unsupportedVersion, 0, epoch))
            }
            return answerNATPMP(datagram, client, epoch, at: now)
        }
        guard behaviour.protocols.contains(.pcp) else {
            guard behaviour.protocols.contains(.natPMP), behaviour.refusesPCP, datagram.count > 1 else { return nil }
            // What RFC 6886 §3.5 says to a version that is not 0.
            return [0, 0x80 | datagram[1], 0, 1] + bigEndianBytes(epoch)
        }
        return answerPCP(datagram, client, epoch, at: now)
    }

    /// Answers a search by multicast.
    public func answerSearch(_ datagram: Span<UInt8>) -> [UInt8]? {
        let text = String(decoding: datagram.toArray(), as: UTF8.self)
        guard behaviour.protocols.contains(.upnp), text.hasPrefix("M-SEARCH"),
            text.contains("InternetGatewayDevice:\(behaviour.isVersion2 ? 2 : 1)")
        else { return nil }
        let place = "http://\(SocketAddress(inside, port: httpPort))/root.xml"
        return Array("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nLOCATION: \(place)\r\n\r\n".utf8)
    }

    // MARK: PCP

    private func refusal(_ result: UInt8, _ opcode: UInt8, _ epoch: UInt32) -> PCPMessage.Response {
        PCPMessage.Response(version: 2, opcode: opcode, result: result, lifetimeSeconds: 30, epoch: epoch, map: nil)
    }

    private mutating func answerPCP(
        _ datagram: Span<UInt8>,
        _ client: SocketAddress,
        _ epoch: UInt32,
        at now: Instant
    ) -> [UInt8]? {
        guard let request = PCPMessage.readRequest(datagram) else { return nil }
        func refuse(_ result: UInt8) -> [UInt8] {
            let response = PCPMessage.Response(
                version: 2,
                opcode: request.opcode,
                result: result,
                lifetimeSeconds: 30,
                epoch: epoch,
                map: request.map
            )
            return PCPMessage.response(response)
        }
        guard request.version == 2 else { return refuse(PCPResult.unsupportedVersion) }
        guard request.client == client.ip else { return refuse(PCPResult.addressMismatch) }
        guard request.opcode == PCPMessage.map, var map = request.map else {
            return refuse(PCPResult.unsupportedOpcode)
        }
        guard let transport = MappedTransport(rawValue: map.transport) else {
            return refuse(PCPResult.unsupportedProtocol)
        }
        guard behaviour.pcpResult == 0 else { return refuse(behaviour.pcpResult) }
        let inside = SocketAddress(client.ip, port: map.internalPort)
        if request.lifetimeSeconds == 0 {
            entries.removeAll { $0.transport == transport && $0.inside == inside && $0.nonce == map.nonce }
        } else {
            let isOurs = { (entry: Entry) in entry.transport == transport && entry.inside == inside }
            // Only who has the nonce may change a mapping (RFC 6887 §11.3).
            if mappings(at: now).contains(where: { isOurs($0) && $0.nonce != map.nonce }) {
                return refuse(PCPResult.notAuthorized)
            }
            let port = assign(transport, inside, wish: map.external.port, at: now)
            if request.prefersFailure, map.external.port != 0, port != map.external.port {
                return refuse(PCPResult.cannotProvideExternal)
            }
            map.external = SocketAddress(external, port: port)
            store(transport, inside, port, min(request.lifetimeSeconds, behaviour.longestLifetime), map.nonce, at: now)
        }
        let response = PCPMessage.Response(
            version: 2,
            opcode: PCPMessage.map,
            result: 0,
            lifetimeSeconds: min(request.lifetimeSeconds, behaviour.longestLifetime),
            epoch: epoch,
            map: map
        )
        return PCPMessage.response(response)
    }

    // MARK: NAT-PMP

    private mutating func answerNATPMP(
        _ datagram: Span<UInt8>,
        _ client: SocketAddress,
        _ epoch: UInt32,
        at now: Instant
    ) -> [UInt8]? {
        guard let request = NATPMPMessage.readRequest(datagram) else { return nil }
        func respond(_ result: UInt16, _ address: IPAddress?, _ mapping: NATPMPMessage.Mapping?) -> [UInt8] {
            NATPMPMessage.response(
                NATPMPMessage.Response(
                    operation: request.operation,
                    result: result,
                    epoch: epoch,
                    address: address,
                    mapping: mapping
                )
            )
        }
        guard behaviour.natPMPResult == 0 else { return respond(behaviour.natPMPResult, nil, request.mapping) }
        guard request.operation != 0 else { return respond(0, external, nil) }
        guard let wish = request.mapping, request.operation <= NATPMPMessage.mapTCP else { return respond(5, nil, nil) }
        let transport: MappedTransport = request.operation == NATPMPMessage.mapUDP ? .udp : .tcp
        let inside = SocketAddress(client.ip, port: wish.internalPort)
        guard wish.lifetimeSeconds > 0 else {
            entries.removeAll { $0.transport == transport && $0.inside == inside }
            let gone = NATPMPMessage.Mapping(internalPort: wish.internalPort, externalPort: 0, lifetimeSeconds: 0)
            return respond(0, nil, gone)
        }
        let port = assign(transport, inside, wish: wish.externalPort, at: now)
        let lifetime = min(wish.lifetimeSeconds, behaviour.longestLifetime)
        store(transport, inside, port, lifetime, nil, at: now)
        return respond(
            0,
            nil,
            NATPMPMessage.Mapping(
                internalPort: wish.internalPort,
                externalPort: port,
                lifetimeSeconds: lifetime
            )
        )
    }

    // MARK: The table

    func holder(_ transport: MappedTransport, _ port: UInt16, at now: Instant) -> SocketAddress? {
        destination(transport, port: port, at: now)
    }

    mutating func remove(_ transport: MappedTransport, _ port: UInt16) -> Bool {
        let count = entries.count
        entries.removeAll { $0.transport == transport && $0.externalPort == port }
        return entries.count < count
    }

    /// The port that an inside address has, or the one wished for, or the next that is free.
    func assign(_ transport: MappedTransport, _ inside: SocketAddress, wish: UInt16, at now: Instant) -> UInt16 {
        let inForce = mappings(at: now).filter { $0.transport == transport }
        if let own = inForce.first(where: { $0.inside == inside }) { return own.externalPort }
        var port = wish == 0 ? inside.port : wish
        let taken = Set(inForce.map(\.externalPort))
        while taken.contains(port) || port == 0 { port = port == .max ? 1024 : port + 1 }
        return port
    }

    mutating func store(
        _ transport: MappedTransport,
        _ inside: SocketAddress,
        _ port: UInt16,
        _ lifetimeSeconds: UInt32,
        _ nonce: PCPNonce?,
        at now: Instant
    ) {
        entries.removeAll { $0.expires <= now || $0.transport == transport && $0.externalPort == port }
        let expires = lifetimeSeconds == 0 ? Instant.distantFuture : now + .seconds(UInt64(lifetimeSeconds))
        entries.append(
            Entry(transport: transport, inside: inside, externalPort: port, expires: expires, nonce: nonce)
        )
    }

    private func bigEndianBytes(_ value: UInt32) -> [UInt8] {
        buildBytes(capacity: 4) { $0.append(bigEndian: value) }
    }
}
