import Bytes
import NetTypes

/// The client of NAT-PMP: one request at a time, as the boxes that speak it want (RFC 6886 §3.1).
struct NATPMPClient {
    private struct Entry {
        var request: MappingRequest
        var lease: Lease?
        var externalPort: UInt16 = 0
        var isDeleting = false
        /// When the next request is to be made: at once, or to renew.
        var dueAt: Instant
    }

    private enum Asking: Hashable {
        case address
        case mapping(MappingID)
    }

    private struct Exchange {
        let asking: Asking
        let bytes: [UInt8]
        var sentCount = 1
        var deadline: Instant
    }

    private static let initialWait = TimeSpan.milliseconds(250)
    private static let attempts = 9
    private static let deletionAttempts = 2

    private let client: IPAddress
    private let lifetimeSeconds: UInt32
    private var external: IPAddress?
    private var entries: [MappingID: Entry] = [:]
    private var exchange: Exchange?
    private var epoch = EpochMonitor()
    var outbox: [[UInt8]] = []
    var events: [ClientEvent] = []

    init(client: IPAddress, lifetimeSeconds: UInt32) {
        self.client = client
        self.lifetimeSeconds = lifetimeSeconds
    }

    var isIdle: Bool { entries.isEmpty }

    mutating func map(_ request: MappingRequest, at now: Instant) {
        entries[request.id] = Entry(request: request, externalPort: request.suggested.port, dueAt: now)
        next(at: now)
    }

    /// Ends a mapping: lifetime and port 0 (RFC 6886 §3.4).
    mutating func delete(_ id: MappingID, at now: Instant) {
        guard let entry = entries[id] else { return }
        guard entry.lease != nil || exchange?.asking == .mapping(id) else {
            entries[id] = nil
            if entries.isEmpty { exchange = nil }
            return events.append(.deleted(id))
        }
        if exchange?.asking == .mapping(id) { exchange = nil }
        entries[id]?.isDeleting = true
        entries[id]?.dueAt = now
        next(at: now)
    }

    mutating func stopRequesting(at now: Instant) {
        for (id, entry) in entries where entry.lease == nil && !entry.isDeleting { entries[id] = nil }
        if case .mapping(let id)? = exchange?.asking, entries[id] == nil { exchange = nil }
        if entries.isEmpty { exchange = nil }
        next(at: now)
    }

    func hasGrant(_ id: MappingID) -> Bool { entries[id]?.lease != nil && entries[id]?.isDeleting == false }

    var nextTimeout: Instant? {
        let expiry = entries.values.compactMap(\.lease?.expires).min()
        let due = exchange == nil ? entries.values.map(\.dueAt).min() : exchange?.deadline
        return [expiry, due].compactMap(\.self).min()
    }

    mutating func handleTimeout(at now: Instant, using entropy: inout Entropy) {
        for id in entries.keys.sorted() {
            guard let lease = entries[id]?.lease, lease.expires <= now else { continue }
            let isDeleting = entries[id]?.isDeleting == true
            entries[id] = nil
            if exchange?.asking == .mapping(id) { exchange = nil }
            events.append(isDeleting ? .deleted(id) : .lost(id, .expired))
        }
        if var waiting = exchange, waiting.deadline <= now {
            let limit = isDeletion(waiting.asking) ? Self.deletionAttempts : Self.attempts
            if waiting.sentCount < limit {
                waiting.deadline = now + Self.initialWait * (1 << UInt64(waiting.sentCount))
                waiting.sentCount += 1
                outbox.append(waiting.bytes)
                exchange = waiting
            } else {
                exchange = nil
                giveUp(waiting.asking, at: now, using: &entropy)
            }
        }
        next(at: now)
    }

    private func isDeletion(_ asking: Asking) -> Bool {
        guard case .mapping(let id) = asking else { return false }
        return entries[id]?.isDeleting == true
    }

    private mutating func giveUp(_ asking: Asking, at now: Instant, using entropy: inout Entropy) {
        guard case .mapping(let id) = asking, let entry = entries[id] else {
            return failAll(.silent)
        }
        if entry.isDeleting {
            entries[id] = nil
            events.append(.deleted(id))
        } else if var lease = entry.lease {
            lease.schedule(at: now, using: &entropy)
            entries[id]?.lease = lease
            entries[id]?.dueAt = lease.renewAt
        } else {
            entries[id] = nil
            events.append(.failed(id, .silent))
        }
    }

    private mutating func failAll(_ failure: PortMappingFailure) {
        for id in entries.keys.sorted() {
            guard let entry = entries[id], entry.lease == nil else { continue }
            entries[id] = nil
            events.append(.failed(id, failure))
        }
    }

    /// Begins the next exchange, if there is none: the address first, then what is due.
    private mutating func next(at now: Instant) {
        guard exchange == nil, !entries.isEmpty else { return }
        let due = entries.keys.sorted().first { (entries[$0]?.dueAt ?? .distantFuture) <= now }
        guard let id = due, let entry = entries[id] else { return }
        if external == nil, !entry.isDeleting { return begin(.address, NATPMPMessage.addressRequest, at: now) }
        let mapping = NATPMPMessage.Mapping(
            internalPort: entry.request.internalPort,
            externalPort: entry.isDeleting ? 0 : entry.externalPort,
            lifetimeSeconds: entry.isDeleting ? 0 : lifetimeSeconds
        )
        let operation = NATPMPMessage.operation(entry.request.transport)
        begin(.mapping(id), NATPMPMessage.mapRequest(operation, mapping), at: now)
    }

    private mutating func begin(_ asking: Asking, _ bytes: [UInt8], at now: Instant) {
        outbox.append(bytes)
        exchange = Exchange(asking: asking, bytes: bytes, deadline: now + Self.initialWait)
    }

    // MARK: Responses

    mutating func receive(
        _ response: NATPMPMessage.Response,
        at now: Instant,
        using entropy: inout Entropy
    ) -> PortMapperDrop? {
        let isAnswer = answers(response)
        // Announcements come unasked, and only they may (RFC 6886 §3.2.1).
        guard isAnswer || response.operation == 0 else { return .noSuchRequest }
        if !epoch.note(response.epoch, at: now) { recreate(at: now) }
        let asking = exchange?.asking
        if isAnswer { exchange = nil }
        defer { next(at: now) }
        guard response.result == 0 else {
            refuse(asking, UInt32(response.result))
            return nil
        }
        if let address = response.address {
            noteAddress(address, at: now)
        } else if let mapping = response.mapping, case .mapping(let id)? = asking {
            noteMapping(id, mapping, at: now, using: &entropy)
        }
        return nil
    }

    private func answers(_ response: NATPMPMessage.Response) -> Bool {
        switch exchange?.asking {
        case nil: return false
        case .address: return response.operation == 0
        case .mapping(let id):
            guard let request = entries[id]?.request else { return false }
            let isRight = response.operation == NATPMPMessage.operation(request.transport)
            return isRight
                && (response.mapping.map { $0.internalPort == request.internalPort } ?? (response.result != 0))
        }
    }

    private mutating func refuse(_ asking: Asking?, _ code: UInt32) {
        // 1 is an unknown version: the box speaks something newer (RFC 6886 §3.5).
        let failure: PortMappingFailure = code == 1 ? .notSupported : .refused(code: code)
        guard case .mapping(let id)? = asking, let entry = entries[id] else { return failAll(failure) }
        entries[id] = nil
        events.append(entry.isDeleting ? .deleted(id) : entry.lease == nil ? .failed(id, failure) : .lost(id, failure))
    }

    private mutating func noteAddress(_ address: IPAddress, at now: Instant) {
        let probe = SocketAddress(address, port: 1)
        guard !ExternalAddress.isImpossible(probe, client: client) else { return failAll(.impossibleAnswer) }
        let isNew = external != nil && external != address
        external = address
        guard isNew else { return }
        for (id, entry) in entries where entry.lease != nil && !entry.isDeleting { entries[id]?.dueAt = now }
    }

    private mutating func noteMapping(
        _ id: MappingID,
        _ mapping: NATPMPMessage.Mapping,
        at now: Instant,
        using entropy: inout Entropy
    ) {
        guard let entry = entries[id] else { return }
        guard !entry.isDeleting else {
            entries[id] = nil
            return events.append(.deleted(id))
        }
        guard let external, mapping.lifetimeSeconds > 0, mapping.externalPort != 0 else {
            entries[id] = nil
            return events.append(.failed(id, .impossibleAnswer))
        }
        let lease = Lease(seconds: mapping.lifetimeSeconds, at: now, using: &entropy)
        entries[id]?.lease = lease
        entries[id]?.dueAt = lease.renewAt
        entries[id]?.externalPort = mapping.externalPort
        let address = SocketAddress(external, port: mapping.externalPort)
        events.append(.granted(id, external: address, lifetimeSeconds: mapping.lifetimeSeconds))
    }

    /// The gateway has begun anew: all mappings are asked for again, with the ports that they had (RFC 6886 §3.7).
    private mutating func recreate(at now: Instant) {
        events.append(.restarted)
        for (id, entry) in entries where entry.lease != nil && !entry.isDeleting { entries[id]?.dueAt = now }
    }
}
