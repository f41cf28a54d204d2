import Bytes
public import Diagnostics
public import NetTypes

/// Multicast DNS as an engine, as far as candidates need it (RFC 6762, draft-ietf-mmusic-mdns-ice-candidates).
///
/// It answers for names of our own, each of one address, and finds the addresses of others' names. One engine serves a
/// whole process: it may have many names and lookups. The driver has a socket for each link, bound to port 5353 and
/// joined to the group, hands in what comes, and after each call drains `pollTransmit` and `pollEvent`, then waits until
/// `nextTimeout`.
///
/// Departure: names are not probed for (RFC 6762 §8.1). They are UUIDs with 122 random bits: nobody else has them, and
/// probing would cost each candidate most of a second (ice 146).
public struct MDNSEngine: ~Copyable {
    struct Published {
        let address: ConcealedAddress
        let interface: UInt32
        /// How many announcements are left, and when the next is due (RFC 6762 §8.3).
        var announcementsLeft = 2
        var announceAt: Instant
        /// When the record was last sent to the group of each link.
        var multicastAt: [MDNSLink: Instant] = [:]
    }

    struct Lookup {
        let isKept: Bool
        var sentCount = 0
        var queryAt: Instant
        /// When a name that is not answered has failed; `nil` for one that is kept.
        var deadline: Instant?
        /// What was told last.
        var told: ConcealedAddress?
    }

    /// An answer that waits: for more known answers, or for the second between two of the same (RFC 6762 §6, §7.2).
    struct PendingAnswer {
        let link: MDNSLink
        let destination: SocketAddress
        /// Who asked: what it tells that it knows is taken out.
        let source: SocketAddress
        let legacy: (id: UInt16, questions: [DNSMessage.Question])?
        var names: [MDNSName]
        /// Names of which a family was asked that they do not have.
        var denied: [MDNSName]
        let deadline: Instant
    }

    struct Outgoing {
        let link: MDNSLink
        let destination: SocketAddress
        let bytes: [UInt8]
    }

    /// How long our records are good for, in seconds: the text's for records with a host's name (RFC 6762 §10, ice 154).
    public static let recordTTLSeconds: UInt32 = 120
    /// How many bytes a datagram has at most: the room that `pollTransmit` needs.
    public static let maximumDatagramByteCount = 9000

    let limits: MDNSLimits
    var links: [MDNSLink: [IPPrefix]] = [:]
    var published: [MDNSName: Published] = [:]
    var lookups: [MDNSName: Lookup] = [:]
    var cache: MDNSCache
    var pending: [PendingAnswer] = []
    var answerBudget: TokenBucket
    var entropy: Entropy
    private var outbox: RingBuffer<Outgoing>
    private var events: RingBuffer<MDNSEvent>
    private var drops = DropCounters<MDNSDrop>()

    /// Makes an engine without links; `entropy` must be `.system` except in tests.
    public init(limits: MDNSLimits = MDNSLimits(), entropy: Entropy = .system, at now: Instant) {
        self.limits = limits
        self.entropy = entropy
        cache = MDNSCache(limit: limits.cachedNames)
        let rate = limits.unicastAnswersPerSecond
        answerBudget = TokenBucket(ratePerSecond: rate, burst: 2 * rate, at: now)
        outbox = RingBuffer(limit: limits.datagrams)
        events = RingBuffer(limit: 2 * limits.lookups)
    }

    // MARK: Links

    /// Adds a link, whose socket has joined the group, with the networks of its own addresses; announces and asks on it.
    public mutating func addLink(_ link: MDNSLink, prefixes: [IPPrefix], at now: Instant) {
        links[link] = prefixes
        for (name, record) in published where record.interface == link.interface {
            published[name]?.announcementsLeft = 2
            published[name]?.announceAt = now
        }
        for name in lookups.keys where cache.entry(name, at: now) == nil { lookups[name]?.queryAt = now }
    }

    /// Forgets a link: its socket is closed.
    public mutating func removeLink(_ link: MDNSLink) {
        links[link] = nil
        pending.removeAll { $0.link == link }
        for name in published.keys { published[name]?.multicastAt[link] = nil }
    }

    /// All links, always in the same order, so that equal runs give equal datagrams.
    var sortedLinks: [MDNSLink] {
        links.keys.sorted { ($0.interface, $0.family.rawValue) < ($1.interface, $1.family.rawValue) }
    }

    /// Whether an address is of one of the link's own networks.
    func isOnLink(_ ip: IPAddress, _ link: MDNSLink) -> Bool {
        ip.isLinkLocal || links[link]?.contains { $0.contains(ip) } == true
    }

    // MARK: Own names

    /// Makes a name for an address of an interface and announces it; `nil` if there are as many as are allowed.
    ///
    /// An address that has a name on that interface keeps it (ice 145): call it for every candidate.
    public mutating func publish(_ address: ConcealedAddress, interface: UInt32, at now: Instant) -> MDNSName? {
        if let known = published.first(where: { $0.value.address == address && $0.value.interface == interface }) {
            return known.key
        }
        guard published.count < limits.publishedNames else { return nil }
        let name = MDNSName.random(using: &entropy)
        published[name] = Published(address: address, interface: interface, announceAt: now)
        return name
    }

    /// Takes a name back, with a goodbye (RFC 6762 §10.1).
    public mutating func withdraw(_ name: MDNSName) {
        guard let record = published.removeValue(forKey: name) else { return }
        sayGoodbye([(name, record)])
    }

    /// Takes all names back: before the sockets are closed.
    public mutating func withdrawAll() {
        let all = published.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        published = [:]
        sayGoodbye(all)
    }

    // MARK: Others' names

    /// Looks up a name; an event follows.
    ///
    /// It is `.resolved`, at once for a name of our own, or `.failed`. With `isKept` it is asked for again before its time is over, and told anew when it changes, until `stopResolving`.
    public mutating func resolve(_ name: MDNSName, isKept: Bool = false, at now: Instant) {
        if let own = published[name] { return tell(.resolved(name, own.address)) }
        guard name.isUUID else { return tell(.failed(name, .notUUID)) }
        guard lookups[name] == nil else { return }
        guard lookups.count < limits.lookups else { return tell(.failed(name, .limitReached)) }
        let deadline = isKept ? nil : now + limits.lookupTime
        lookups[name] = Lookup(isKept: isKept, queryAt: now, deadline: deadline)
        if cache.entry(name, at: now) != nil { noteAnswer(name, at: now) }
    }

    /// Ends a lookup without an event.
    public mutating func stopResolving(_ name: MDNSName) { lookups[name] = nil }

    // MARK: The driver's calls

    /// Takes a datagram that came over `link`; `wasMulticast` tells whether it was sent to the group.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        from source: SocketAddress,
        over link: MDNSLink,
        wasMulticast: Bool,
        at now: Instant
    ) -> Disposition<MDNSDrop> {
        guard links[link] != nil else { return ignore(.unknownLink) }
        let message: DNSMessage
        do throws(DNSError) {
            message = try DNSMessage(datagram)
        } catch {
            switch error {
            case .malformed: return ignore(.malformed)
            case .notSupported: return ignore(.notSupported)
            case .tooManyRecords: return ignore(.tooManyRecords)
            }
        }
        guard wasMulticast || isOnLink(source.ip, link) else { return ignore(.offLink) }
        if message.isResponse {
            guard source.port == MDNSLink.port else { return ignore(.wrongPort) }
            return receiveResponse(message, at: now)
        }
        return receiveQuery(message, from: source, over: link, at: now)
    }

    /// Asks, announces and answers what is due; to be called when `nextTimeout` has passed.
    public mutating func handleTimeout(at now: Instant) {
        sendAnnouncements(at: now)
        sendQueries(at: now)
        sendPending(at: now)
    }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        var next = Instant.distantFuture
        for record in published.values where record.announcementsLeft > 0 { next = min(next, record.announceAt) }
        for lookup in lookups.values { next = min(next, lookup.queryAt, lookup.deadline ?? .distantFuture) }
        for answer in pending { next = min(next, answer.deadline) }
        return next == .distantFuture ? nil : next
    }

    /// Writes the next datagram; the free capacity must be `maximumDatagramByteCount`.
    public mutating func pollTransmit(at now: Instant, into datagram: inout OutputSpan<UInt8>) -> MDNSTransmit? {
        if let due = nextTimeout, due <= now { handleTimeout(at: now) }
        while let next = outbox.popFirst() {
            guard next.bytes.count <= datagram.freeCapacity else {
                drops.count(.notTaken)
                continue
            }
            datagram.append(contentsOf: next.bytes.span)
            return MDNSTransmit(link: next.link, destination: next.destination, byteCount: next.bytes.count)
        }
        return nil
    }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> MDNSEvent? { events.popFirst() }

    /// What was dropped, by reason.
    public var dropCounts: DropCounters<MDNSDrop> { drops }

    // MARK: For the other files

    mutating func tell(_ event: MDNSEvent) { if !events.append(event) { drops.count(.notTaken) } }

    mutating func send(_ bytes: [UInt8], to destination: SocketAddress, over link: MDNSLink) {
        if !outbox.append(Outgoing(link: link, destination: destination, bytes: bytes)) { drops.count(.notTaken) }
    }

    mutating func count(_ reason: MDNSDrop) { drops.count(reason) }

    mutating func ignore(_ reason: MDNSDrop) -> Disposition<MDNSDrop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
