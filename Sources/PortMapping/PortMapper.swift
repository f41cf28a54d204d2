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
    struct Entry {
        var request: MappingRequest
        var mapping: PortMapping?
        var pending: Set<PortMappingProtocol> = []
        var failures: [PortMappingProtocol: PortMappingFailure] = [:]
        var deadline: Instant?
        var natPMPAt: Instant?
    }

    /// What the mapper was told.
    public let configuration: PortMapperConfiguration
    var entries: [MappingID: Entry] = [:]
    private var nextID: UInt32 = 1
    var pcp: PCPClient
    var natPMP: NATPMPClient
    var upnp: UPnPClient
    /// The protocol that has granted a mapping.
    var chosen: PortMappingProtocol?
    var isClosing = false
    private var closeAt: Instant?
    var retriedAt: Instant?
    var entropy: Entropy
    private var outbox: RingBuffer<(to: SocketAddress, bytes: [UInt8])>
    var actions: RingBuffer<PortMapperAction>
    private var events: RingBuffer<PortMapperEvent>
    var drops = DropCounters<PortMapperDrop>()

    /// How many bytes a datagram has at most: the room that `pollTransmit` needs.
    public static let maximumDatagramByteCount = 1100

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

    mutating func begin(_ id: MappingID, at now: Instant) {
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

    mutating func startNATPMP(_ id: MappingID, at now: Instant) {
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

    mutating func fail(_ id: MappingID, at now: Instant) {
        entries[id]?.pending = []
        entries[id]?.deadline = nil
        entries[id]?.natPMPAt = nil
        tell(.failed(id, entries[id]?.failures ?? [:]))
    }

    mutating func deleteEverywhere(_ id: MappingID, at now: Instant, except kept: PortMappingProtocol? = nil) {
        if kept != .pcp { pcp.delete(id, at: now) }
        if kept != .natPMP { natPMP.delete(id, at: now) }
        if kept != .upnp { upnp.delete(id, at: now) }
    }

    mutating func finishClosing() {
        guard closeAt != nil else { return }
        closeAt = nil
        tell(.closed)
    }

    // MARK: What comes out

    mutating func send(_ bytes: [UInt8], to destination: SocketAddress) {
        if !outbox.append((destination, bytes)) { drops.count(.notTaken) }
    }

    mutating func tell(_ event: PortMapperEvent) {
        if !events.append(event) { drops.count(.notTaken) }
    }

    private mutating func ignore(_ reason: PortMapperDrop) -> Disposition<PortMapperDrop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
