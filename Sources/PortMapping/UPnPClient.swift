import Bytes
import HTTP
import NetTypes

/// The client of UPnP's Internet Gateway Device, versions 1 and 2: search, description, calls, one after the other.
///
///     searching ──answer of the gateway──► describing ──service found──► ready ──► address ──► add... renew... delete
struct UPnPClient {
    struct Entry {
        var request: MappingRequest
        var externalPort: UInt16
        var lease: Lease?
        /// Granted without end: renewed all the same, since gateways forget.
        var isPermanent = false
        var isDeleting = false
        var conflicts = 0
        var dueAt: Instant
    }

    enum Job: Hashable {
        case describe
        case address
        case add(MappingID)
        case delete(MappingID)
    }

    struct Exchange {
        let job: Job
        let stream: PortMapperStream
        let request: [UInt8]
        var parser: HTTPResponseParser
        let deadline: Instant
    }

    private static let searchPauses: [TimeSpan] = [.seconds(1), .seconds(2)]

    let configuration: PortMapperConfiguration
    var entries: [MappingID: Entry] = [:]
    var searchesSent = 0
    private var searchAt: Instant?
    var location: GatewayURL?
    var service: (type: String, control: GatewayURL)?
    var external: IPAddress?
    var knowsAny = true
    var wantsPermanent = false
    var exchange: Exchange?
    var nextStream: UInt32 = 1
    var outbox: [[UInt8]] = []
    var actions: [PortMapperAction] = []
    var events: [ClientEvent] = []

    init(_ configuration: PortMapperConfiguration) { self.configuration = configuration }

    var isIdle: Bool { entries.isEmpty }

    mutating func map(_ request: MappingRequest, at now: Instant) {
        let port = request.suggested.port == 0 ? request.internalPort : request.suggested.port
        entries[request.id] = Entry(request: request, externalPort: port, dueAt: now)
        if location == nil, searchAt == nil { searchAt = now }
        next(at: now)
    }

    mutating func delete(_ id: MappingID, at now: Instant) {
        guard let entry = entries[id] else { return }
        let isOnItsWay = exchange?.job == .add(id)
        guard entry.lease != nil || isOnItsWay else {
            entries[id] = nil
            return events.append(.deleted(id))
        }
        if isOnItsWay { abandon() }
        entries[id]?.isDeleting = true
        entries[id]?.dueAt = now
        next(at: now)
    }

    mutating func stopRequesting(at now: Instant) {
        for (id, entry) in entries where entry.lease == nil && !entry.isDeleting {
            // A call that is on its way may be carried out: it is taken back.
            if exchange?.job == .add(id) { delete(id, at: now) } else { entries[id] = nil }
        }
        guard entries.isEmpty else { return }
        searchAt = nil
        searchesSent = 0
        abandon()
    }

    func hasGrant(_ id: MappingID) -> Bool { entries[id]?.lease != nil && entries[id]?.isDeleting == false }

    var nextTimeout: Instant? {
        let expiry = entries.values.compactMap { $0.isPermanent ? nil : $0.lease?.expires }.min()
        let due = exchange?.deadline ?? (service == nil ? nil : entries.values.map(\.dueAt).min())
        return [searchAt, expiry, due].compactMap(\.self).min()
    }

    mutating func handleTimeout(at now: Instant, using entropy: inout Entropy) {
        search(at: now)
        if let exchange, exchange.deadline <= now { lose(.connectionLost, at: now, using: &entropy) }
        for id in entries.keys.sorted() {
            guard let entry = entries[id], let lease = entry.lease, !entry.isPermanent, lease.expires <= now else {
                continue
            }
            entries[id] = nil
            events.append(entry.isDeleting ? .deleted(id) : .lost(id, .expired))
        }
        next(at: now)
    }

    private mutating func search(at now: Instant) {
        guard let due = searchAt, due <= now else { return }
        for target in UPnPText.searchTargets { outbox.append(UPnPText.search(target)) }
        searchAt = searchesSent < Self.searchPauses.count ? now + Self.searchPauses[searchesSent] : nil
        searchesSent += 1
    }

    /// Takes an answer to a search, which must come from the gateway and must name the gateway (ice 181).
    mutating func receiveSearchAnswer(
        _ datagram: Span<UInt8>,
        from source: SocketAddress,
        at now: Instant
    )
        -> PortMapperDrop?
    {
        guard let url = UPnPText.location(datagram) else { return .malformed }
        guard source.ip == configuration.gateway.ip, url.address.ip == source.ip else { return .wrongSource }
        guard location == nil, searchesSent > 0, !entries.isEmpty else { return nil }
        location = url
        searchAt = nil
        next(at: now)
        return nil
    }
}
