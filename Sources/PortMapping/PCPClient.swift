import Bytes
import NetTypes

/// The client of PCP: MAP and ANNOUNCE (RFC 6887 §8, §11, §14.1).
///
///     requesting ──success──► granted ──renewal fails until the end──► lost
///          │                     │ delete                                │
///          └──error──► failed    └──────► deleting ──answer or time──► gone
struct PCPClient {
    private enum Phase {
        case requesting
        case granted(Lease)
        case deleting
    }

    private struct Entry {
        var request: MappingRequest
        let nonce: PCPNonce
        var phase = Phase.requesting
        /// When the request is sent next, and the wait before that (RFC 6887 §8.1.1).
        var sendAt: Instant
        var wait: TimeSpan
        var sentCount = 0
    }

    static let port: UInt16 = 5351
    /// IRT and MRT of RFC 6887 §8.1.1.
    private static let initialWait = TimeSpan.seconds(3)
    private static let longestWait = TimeSpan.seconds(1024)

    private let client: IPAddress
    private let lifetimeSeconds: UInt32
    private var entries: [MappingID: Entry] = [:]
    private var epoch = EpochMonitor()
    private(set) var isSupported = true
    var outbox: [[UInt8]] = []
    var events: [ClientEvent] = []

    init(client: IPAddress, lifetimeSeconds: UInt32) {
        self.client = client
        self.lifetimeSeconds = lifetimeSeconds
    }

    var isIdle: Bool { entries.isEmpty }

    mutating func map(_ request: MappingRequest, at now: Instant, using entropy: inout Entropy) {
        guard isSupported else { return events.append(.failed(request.id, .notSupported)) }
        entries[request.id] = Entry(
            request: request,
            nonce: .random(using: &entropy),
            sendAt: now,
            wait: Self.initialWait
        )
    }

    /// Ends a mapping: lifetime 0 with its nonce (RFC 6887 §15).
    mutating func delete(_ id: MappingID, at now: Instant) {
        guard let entry = entries[id] else { return }
        // What was never sent has made nothing.
        guard entry.sentCount > 0 else {
            entries[id] = nil
            return events.append(.deleted(id))
        }
        entries[id]?.phase = .deleting
        entries[id]?.sendAt = now
        entries[id]?.sentCount = 0
        entries[id]?.wait = Self.initialWait
    }

    /// Forgets everything that was not granted: another protocol has been faster, or time is over.
    mutating func stopRequesting() {
        for (id, entry) in entries {
            if case .requesting = entry.phase { entries[id] = nil }
        }
    }

    /// Whether a mapping was granted.
    func hasGrant(_ id: MappingID) -> Bool {
        if case .granted? = entries[id]?.phase { return true }
        return false
    }

    var nextTimeout: Instant? {
        entries.values.map { entry in
            if case .granted(let lease) = entry.phase { return min(entry.sendAt, lease.expires) }
            return entry.sendAt
        }.min()
    }

    mutating func handleTimeout(at now: Instant, using entropy: inout Entropy) {
        for id in entries.keys.sorted() {
            guard let entry = entries[id] else { continue }
            switch entry.phase {
            case .requesting:
                if entry.sendAt <= now { send(id, at: now, using: &entropy) }
            case .deleting:
                guard entry.sendAt <= now else { continue }
                guard entry.sentCount < 2 else {
                    entries[id] = nil
                    events.append(.deleted(id))
                    continue
                }
                send(id, at: now, using: &entropy)
            case .granted(var lease):
                if lease.expires <= now {
                    entries[id] = nil
                    events.append(.lost(id, .expired))
                } else if entry.sendAt <= now {
                    send(id, at: now, using: &entropy)
                    lease.schedule(at: now, using: &entropy)
                    entries[id]?.phase = .granted(lease)
                    entries[id]?.sendAt = lease.renewAt
                }
            }
        }
    }

    private mutating func send(_ id: MappingID, at now: Instant, using entropy: inout Entropy) {
        guard let entry = entries[id] else { return }
        var lifetime = lifetimeSeconds
        if case .deleting = entry.phase { lifetime = 0 }
        let map = PCPMap(
            nonce: entry.nonce,
            transport: entry.request.transport.rawValue,
            internalPort: entry.request.internalPort,
            external: lifetime == 0
                ? SocketAddress(.unspecified(client.family), port: 0) : entry.request.suggested
        )
        outbox.append(PCPMessage.request(map, lifetimeSeconds: lifetime, client: client))
        // Waits are spread by a tenth in both directions (RFC 6887 §8.1.1, ice 177).
        let wait = entry.wait.nanoseconds
        let spread = UInt64.random(in: 0...wait / 5, using: &entropy)
        entries[id]?.sentCount += 1
        entries[id]?.sendAt = now + TimeSpan(nanoseconds: wait - wait / 10 + spread)
        entries[id]?.wait = min(entry.wait * 2, Self.longestWait)
    }

    // MARK: Responses

    mutating func receive(
        _ response: PCPMessage.Response,
        at now: Instant,
        using entropy: inout Entropy
    ) -> PortMapperDrop? {
        if response.result == PCPResult.unsupportedVersion {
            // Only the answer to a question of ours: not what anybody throws in while all is well.
            guard !entries.isEmpty, !entries.keys.contains(where: hasGrant) else { return .noSuchRequest }
            isSupported = false
            for id in entries.keys.sorted() { events.append(.failed(id, .notSupported)) }
            entries = [:]
            return nil
        }
        if response.opcode == PCPMessage.announce {
            guard response.result == PCPResult.success else { return .noSuchRequest }
            // An announcement whose epoch fits is a late copy of one that was heard.
            if !epoch.note(response.epoch, at: now) { recreate(at: now) }
            return nil
        }
        guard let map = response.map, let id = entry(of: map), let entry = entries[id] else { return .noSuchRequest }
        if !epoch.note(response.epoch, at: now) { recreate(at: now, except: id) }
        if case .deleting = entry.phase {
            entries[id] = nil
            events.append(.deleted(id))
            return nil
        }
        guard response.result == PCPResult.success else {
            refuse(id, entry, response)
            return nil
        }
        let external = SocketAddress(map.external.ip, port: map.external.port)
        guard response.lifetimeSeconds > 0, !ExternalAddress.isImpossible(external, client: client) else {
            // What it has mapped is of no use; it is to forget it.
            events.append(.failed(id, .impossibleAnswer))
            delete(id, at: now)
            return nil
        }
        let lease = Lease(seconds: response.lifetimeSeconds, at: now, using: &entropy)
        entries[id]?.phase = .granted(lease)
        entries[id]?.sendAt = lease.renewAt
        entries[id]?.wait = Self.initialWait
        entries[id]?.request.suggested = external
        events.append(.granted(id, external: external, lifetimeSeconds: response.lifetimeSeconds))
        return nil
    }

    private func entry(of map: PCPMap) -> MappingID? {
        entries.first { _, entry in
            entry.nonce == map.nonce && entry.request.transport.rawValue == map.transport
                && entry.request.internalPort == map.internalPort
        }?.key
    }

    private mutating func refuse(_ id: MappingID, _ entry: Entry, _ response: PCPMessage.Response) {
        let failure: PortMappingFailure =
            response.result == PCPResult.addressMismatch ? .hiddenNAT : .refused(code: UInt32(response.result))
        if case .granted = entry.phase {
            // It was granted and is refused now: by an update of the server, or when it was to be renewed.
            events.append(.lost(id, failure))
        } else {
            events.append(.failed(id, failure))
        }
        entries[id] = nil
    }

    /// The gateway has lost its memory: all mappings are asked for again at once, with what they were (§16.3.1).
    private mutating func recreate(at now: Instant, except known: MappingID? = nil) {
        events.append(.restarted)
        for (id, entry) in entries where id != known {
            if case .granted = entry.phase { entries[id]?.sendAt = now }
        }
    }
}
