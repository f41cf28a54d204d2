import Bytes
public import Diagnostics
public import NetTypes

/// Asks a gateway for port mappings, by PCP, NAT-PMP and UPnP at the same time, as an engine.
///
/// One for each interface with a gateway. The driver gives it a UDP socket on the client's address, one more that hears
/// 224.0.0.1:5350 or [ff02::1]:5350 if it can, and TCP connections as `pollAction` asks. The first protocol that grants
/// a mapping is kept to; what others grant later is taken back. Mappings are renewed, made anew when the gateway has
/// lost its memory, and deleted by `unmap` and `close`. A gateway that says nothing costs a few datagrams, no time.
public struct PortMapper: ~Copyable {
    private struct Entry {
        var request: MappingRequest
        var mapping: PortMapping?
        var pending: Set<PortMappingProtocol> = []
        var failures: [PortMappingProtocol: PortMappingFailure] = [:]
        var deadline: Instant?
        var natPMPAt: Instant?
    }

    /// What the mapper was told.
    public let configuration: PortMapperConfiguration
    private var entries: [MappingID: Entry] = [:]
    private var nextID: UInt32 = 1
    private var pcp: PCPClient
    private var natPMP: NATPMPClient
    private var upnp: UPnPClient
    /// The protocol that has granted a mapping.
    private var chosen: PortMappingProtocol?
    private var isClosing = false
    private var closeAt: Instant?
    private var retriedAt: Instant?
    private var entropy: Entropy
    private var outbox: RingBuffer<(to: SocketAddress, bytes: [UInt8])>
    private var actions: RingBuffer<PortMapperAction>
    private var events: RingBuffer<PortMapperEvent>
    private var drops = DropCounters<PortMapperDrop>()

    /// How many bytes a datagram has at most: the room that `pollTransmit` needs.
    public static let maximumDatagramByteCount = 1100
    /// How long after one announcement the next makes failed mappings be asked for again.
    private static let retryPause = TimeSpan.seconds(10)

    /// Makes a mapper that asks for nothing yet; `entropy` must be `.system` except in tests.
    public init(_ configuration: PortMapperConfiguration, entropy: Entropy = .system) {
        self.configuration = configuration
        self.entropy = entropy
        pcp = PCPClient(client: configuration.client, lifetimeSeconds: configuration.lifetimeSeconds)
        natPMP = NATPMPClient(client: configuration.client, lifetimeSeconds: configuration.lifetimeSeconds)
        upnp = UPnPClient(configuration)
        outbox = RingBuffer(limit: 4 * configuration.limit + 16)
        actions = RingBuffer(limit: 4 * configuration.limit + 16)
        events = RingBuffer(limit: 4 * configuration.limit + 16)
    }

    // MARK: The owner's calls

    /// Asks for a mapping of a local port; `.mapped` or `.failed` follows, and maybe more of them later.
    ///
    /// - Returns: `nil` if as many are wanted as are allowed.
    public mutating func map(
        _ transport: MappedTransport,
        internalPort: UInt16,
        suggestedPort: UInt16 = 0,
        at now: Instant
    ) -> MappingID? {
        guard entries.count < configuration.limit, internalPort != 0, !isClosing else {
            drops.count(.limitReached)
            return nil
        }
        let id = MappingID(rawValue: nextID)
        nextID &+= 1
        let suggested = SocketAddress(.unspecified(configuration.client.family), port: suggestedPort)
        let request = MappingRequest(
            id: id,
            transport: transport,
            internalPort: internalPort,
            suggested: suggested
        )
        entries[id] = Entry(request: request)
        begin(id, at: now)
        return id
    }

    /// Gives a mapping back; no event follows.
    public mutating func unmap(_ id: MappingID, at now: Instant) {
        guard entries.removeValue(forKey: id) != nil else { return }
        deleteEverywhere(id, at: now)
        collect(at: now)
    }

    /// Gives all mappings back; `.closed` follows, soon whatever the gateway does.
    public mutating func close(at now: Instant) {
        guard !isClosing else { return }
        isClosing = true
        closeAt = now + configuration.closeTime
        for id in entries.keys.sorted() { deleteEverywhere(id, at: now) }
        entries = [:]
        collect(at: now)
    }

    // MARK: The driver's calls

    /// Takes a datagram of either socket.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        from source: SocketAddress,
        at now: Instant
    ) -> Disposition<PortMapperDrop> {
        guard source.ip == configuration.gateway.ip else { return ignore(.wrongSource) }
        let drop =
            source.port == PCPClient.port
            ? receiveMessage(datagram, at: now) : upnp.receiveSearchAnswer(datagram, from: source, at: now)
        collect(at: now)
        return drop.map { ignore($0) } ?? .accepted
    }

    /// Tells that a connection was made.
    public mutating func streamOpened(_ stream: PortMapperStream, at now: Instant) {
        if let drop = upnp.streamOpened(stream) { drops.count(drop) }
        collect(at: now)
    }

    /// Hands over what a connection has brought.
    public mutating func streamReceived(_ stream: PortMapperStream, _ bytes: Span<UInt8>, at now: Instant) {
        if let drop = upnp.streamReceived(stream, bytes, at: now, using: &entropy) { drops.count(drop) }
        collect(at: now)
    }

    /// Tells that a connection has ended, or could not be made.
    public mutating func streamClosed(_ stream: PortMapperStream, at now: Instant) {
        if let drop = upnp.streamClosed(stream, at: now, using: &entropy) { drops.count(drop) }
        collect(at: now)
    }

    /// Asks again, renews, gives up; to be called when `nextTimeout` has passed.
    public mutating func handleTimeout(at now: Instant) {
        for id in entries.keys.sorted() {
            if let due = entries[id]?.natPMPAt, due <= now { startNATPMP(id, at: now) }
            if let deadline = entries[id]?.deadline, deadline <= now { giveUp(id, at: now) }
        }
        pcp.handleTimeout(at: now, using: &entropy)
        natPMP.handleTimeout(at: now, using: &entropy)
        upnp.handleTimeout(at: now, using: &entropy)
        collect(at: now)
        if let closeAt, closeAt <= now { finishClosing() }
    }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        var next = closeAt ?? .distantFuture
        for entry in entries.values {
            next = min(next, entry.natPMPAt ?? .distantFuture, entry.deadline ?? .distantFuture)
        }
        for time in [pcp.nextTimeout, natPMP.nextTimeout, upnp.nextTimeout] { next = min(next, time ?? .distantFuture) }
        return next == .distantFuture ? nil : next
    }

    /// Writes the next datagram; the free capacity must be `maximumDatagramByteCount`.
    public mutating func pollTransmit(at now: Instant, into datagram: inout OutputSpan<UInt8>) -> Transmit? {
        if let due = nextTimeout, due <= now { handleTimeout(at: now) }
        while let next = outbox.popFirst() {
            guard next.bytes.count <= datagram.freeCapacity else {
                drops.count(.notTaken)
                continue
            }
            datagram.append(contentsOf: next.bytes.span)
            return Transmit(to: next.to, byteCount: next.bytes.count)
        }
        return nil
    }

    /// Takes the next thing to do with a TCP connection.
    public mutating func pollAction() -> PortMapperAction? { actions.popFirst() }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> PortMapperEvent? { events.popFirst() }

    /// What was dropped, by reason.
    public var dropCounts: DropCounters<PortMapperDrop> { drops }

    // MARK: Starting and ending

    private mutating func begin(_ id: MappingID, at now: Instant) {
        guard var entry = entries[id] else { return }
        entry.failures = [:]
        entry.pending = chosen.map { [$0] } ?? configuration.protocols
        entry.deadline = now + configuration.deadline
        entry.natPMPAt = nil
        let pending = entry.pending
        if pending.contains(.natPMP) {
            entry.natPMPAt = pending.contains(.pcp) ? now + configuration.natPMPDelay : now
        }
        entries[id] = entry
        if pending.contains(.pcp) { pcp.map(entry.request, at: now, using: &entropy) }
        if pending.contains(.upnp) { upnp.map(entry.request, at: now) }
        if pending.isEmpty { fail(id, at: now) }
        collect(at: now)
    }

    private mutating func startNATPMP(_ id: MappingID, at now: Instant) {
        guard let entry = entries[id], entry.natPMPAt != nil else { return }
        entries[id]?.natPMPAt = nil
        natPMP.map(entry.request, at: now)
    }

    private mutating func giveUp(_ id: MappingID, at now: Instant) {
        guard let entry = entries[id], entry.mapping == nil else { return }
        for name in entry.pending { entries[id]?.failures[name] = .silent }
        fail(id, at: now)
        deleteEverywhere(id, at: now)
    }

    private mutating func fail(_ id: MappingID, at now: Instant) {
        entries[id]?.pending = []
        entries[id]?.deadline = nil
        entries[id]?.natPMPAt = nil
        tell(.failed(id, entries[id]?.failures ?? [:]))
    }

    private mutating func deleteEverywhere(_ id: MappingID, at now: Instant, except kept: PortMappingProtocol? = nil) {
        if kept != .pcp { pcp.delete(id, at: now) }
        if kept != .natPMP { natPMP.delete(id, at: now) }
        if kept != .upnp { upnp.delete(id, at: now) }
    }

    private mutating func finishClosing() {
        guard closeAt != nil else { return }
        closeAt = nil
        tell(.closed)
    }

    // MARK: What the protocols say

    private mutating func receiveMessage(_ datagram: Span<UInt8>, at now: Instant) -> PortMapperDrop? {
        let wasUnsolicited: Bool
        let drop: PortMapperDrop?
        if let response = PCPMessage.readResponse(datagram) {
            if response.result == PCPResult.unsupportedVersion, response.version == PCPMessage.version {
                // A box that speaks PCP alone says so to NAT-PMP.
                natPMP.stopRequesting(at: now)
                for id in entries.keys.sorted() { note(id, .natPMP, .notSupported, at: now) }
                return nil
            }
            wasUnsolicited = response.opcode == PCPMessage.announce
            drop = pcp.receive(response, at: now, using: &entropy)
            if drop == nil, !pcp.isSupported {
                // It is an older box, which speaks NAT-PMP (RFC 6887 §9, ice 179): no reason to wait longer.
                for id in entries.keys.sorted() { startNATPMP(id, at: now) }
            }
        } else if let response = NATPMPMessage.readResponse(datagram) {
            wasUnsolicited = response.operation == 0
            drop = natPMP.receive(response, at: now, using: &entropy)
        } else {
            return .malformed
        }
        if wasUnsolicited, drop == nil { retryFailed(at: now) }
        return drop
    }

    /// A gateway that announces itself is asked again for what it did not give.
    private mutating func retryFailed(at now: Instant) {
        let failed = entries.keys.sorted().filter { entries[$0]?.mapping == nil && entries[$0]?.deadline == nil }
        guard !failed.isEmpty, now - (retriedAt ?? .zero) >= Self.retryPause || retriedAt == nil else { return }
        retriedAt = now
        for id in failed { begin(id, at: now) }
    }

    /// Takes what the protocols have to send and to tell.
    private mutating func collect(at now: Instant) {
        var isDone = false
        while !isDone {
            // A protocol may send and tell at once when it is started by what another has told.
            var events = Self.take(&pcp.events, .pcp)
            events += Self.take(&natPMP.events, .natPMP)
            events += Self.take(&upnp.events, .upnp)
            isDone = events.isEmpty
            for (name, event) in events { handle(event, of: name, at: now) }
        }
        let server = SocketAddress(
            configuration.gateway.ip,
            port: PCPClient.port,
            scope: configuration.gateway.scope
        )
        for bytes in pcp.outbox + natPMP.outbox { send(bytes, to: server) }
        for bytes in upnp.outbox { send(bytes, to: UPnPText.group) }
        for action in upnp.actions where !actions.append(action) { drops.count(.notTaken) }
        pcp.outbox = []
        natPMP.outbox = []
        upnp.outbox = []
        upnp.actions = []
        if isClosing, pcp.isIdle, natPMP.isIdle, upnp.isIdle { finishClosing() }
    }

    private static func take(
        _ events: inout [ClientEvent],
        _ name: PortMappingProtocol
    ) -> [(PortMappingProtocol, ClientEvent)] {
        defer { events = [] }
        return events.map { (name, $0) }
    }

    private mutating func handle(_ event: ClientEvent, of name: PortMappingProtocol, at now: Instant) {
        switch event {
        case .granted(let id, let external, let lifetime): grant(id, external, lifetime, name, at: now)
        case .failed(let id, let failure): note(id, name, failure, at: now)
        case .lost(let id, let failure): lose(id, name, failure, at: now)
        case .deleted, .restarted: break
        }
    }

    private mutating func grant(
        _ id: MappingID,
        _ external: SocketAddress,
        _ lifetime: UInt32,
        _ name: PortMappingProtocol,
        at now: Instant
    ) {
        guard let entry = entries[id], entry.mapping == nil || entry.mapping?.via == name else {
            // Another has been faster, or nobody wants it any more.
            switch name {
            case .pcp: pcp.delete(id, at: now)
            case .natPMP: natPMP.delete(id, at: now)
            case .upnp: upnp.delete(id, at: now)
            }
            return
        }
        let mapping = PortMapping(
            external: external,
            lifetimeSeconds: min(lifetime, Lease.longest),
            via: name,
            isBehindAnotherNAT: ExternalAddress.isPrivate(external.ip)
        )
        chosen = name
        entries[id]?.request.suggested = external
        entries[id]?.mapping = mapping
        entries[id]?.deadline = nil
        entries[id]?.natPMPAt = nil
        entries[id]?.pending = []
        if entry.mapping == nil { deleteEverywhere(id, at: now, except: name) }
        if entry.mapping?.external != external { tell(.mapped(id, mapping)) }
    }

    private mutating func note(
        _ id: MappingID,
        _ name: PortMappingProtocol,
        _ failure: PortMappingFailure,
        at now: Instant
    ) {
        guard entries[id]?.pending.remove(name) != nil else { return }
        entries[id]?.failures[name] = failure
        if name == .natPMP { entries[id]?.natPMPAt = nil }
        if entries[id]?.pending.isEmpty == true { fail(id, at: now) }
    }

    /// A mapping that is gone is asked for again from the beginning, of everyone.
    private mutating func lose(
        _ id: MappingID,
        _ name: PortMappingProtocol,
        _ failure: PortMappingFailure,
        at now: Instant
    ) {
        guard let entry = entries[id], entry.mapping?.via == name else { return }
        entries[id]?.mapping = nil
        if !entries.values.contains(where: { $0.mapping != nil }) { chosen = nil }
        tell(.lost(id, failure))
        begin(id, at: now)
    }

    private mutating func send(_ bytes: [UInt8], to destination: SocketAddress) {
        if !outbox.append((destination, bytes)) { drops.count(.notTaken) }
    }

    private mutating func tell(_ event: PortMapperEvent) {
        if !events.append(event) { drops.count(.notTaken) }
    }

    private mutating func ignore(_ reason: PortMapperDrop) -> Disposition<PortMapperDrop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
