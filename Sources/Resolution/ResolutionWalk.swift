import NetTypes
import STUN

/// One run of RFC 5928 §3 over the answers that are there; notes what it misses.
struct ResolutionWalk {
    private let query: ServerQuery
    private let answers: [DNSQuestion: DNSAnswer]
    private var entropy: Entropy
    private var found: [ServerCandidate] = []
    private var group = 0
    private var failure: DNSFailure?
    private var isDeclined = false
    /// Names whose NAPTR records were followed for a transport: a second time would find nothing new.
    private var followed: Set<String> = []
    /// What must be asked before the result counts.
    private(set) var missing: [DNSQuestion] = []

    init(_ query: ServerQuery, _ answers: [DNSQuestion: DNSAnswer], entropy: Entropy) {
        self.query = query
        self.answers = answers
        self.entropy = entropy
    }

    private var host: String { query.host.name }

    mutating func candidates() throws(ResolutionError) -> [ServerCandidate] {
        // TURN over TLS may be had for a `turn:` URI, but only where a NAPTR record says so.
        // Departure: RFC 5928 would have TLS tried at the port for plain TCP, which no server has there.
        let offered = query.supported.filter { $0.isSecure || !query.isSecure }
        var transports = offered.filter { $0.isSecure == query.isSecure }
        if let named = query.named {
            let meant = TransportProtocol.meant(by: named, isSecure: query.isSecure, of: query.supported)
            transports = meant.map { [$0] } ?? []
        }
        guard !transports.isEmpty else { throw .unsupportedTransport }
        if let address = query.host.address {
            // Step 1.
            for transport in transports { add([address], query.host.port ?? transport.standardPort, transport) }
            return found
        }
        guard DNSQuestion(host, .a) != nil else { throw .badName(host) }
        if let port = query.host.port {
            // Step 2.
            for transport in transports { add(addresses(host), port, transport) }
        } else if query.isDiscovery {
            isDeclined = !walkPointers(offered) || isDeclined
        } else if query.named != nil || query.service == .stun || !walkPointers(offered) {
            // Steps 3 and 5.
            for transport in transports { addService(of: transport) }
        }
        guard found.isEmpty else { return found }
        if let failure { throw .lookupFailed(host, failure) }
        throw isDeclined ? .notOffered(host) : .noAddress(host)
    }

    // MARK: Questions

    private mutating func records(_ name: String, _ kind: DNSQuestion.Kind) -> [DNSRecord] {
        guard let question = DNSQuestion(name, kind) else { return [] }
        guard let answer = answers[question] else {
            missing.append(question)
            return []
        }
        switch answer {
        case .records(let records): return records
        case .nothing: return []
        case .failed(let reason):
            failure = reason
            return []
        }
    }

    private mutating func addresses(_ name: String) -> [IPAddress] {
        var list: [IPAddress] = []
        for (kind, family) in [(DNSQuestion.Kind.aaaa, AddressFamily.ipv6), (.a, .ipv4)] {
            for case .address(let ip) in records(name, kind) where ip.family == family && !ip.isUnspecified {
                if !list.contains(ip) { list.append(ip) }
            }
        }
        return list
    }

    private mutating func add(_ list: [IPAddress], _ port: UInt16, _ transport: TransportProtocol) {
        group += 1
        for ip in list where found.count < ServerResolution.candidateLimit {
            let address = SocketAddress(ip, port: port)
            guard !found.contains(where: { $0.transport == transport && $0.address == address }) else { continue }
            found.append(ServerCandidate(transport, address, serverName: host, group: group))
        }
    }

    // MARK: SRV (RFC 2782)

    private mutating func addService(of transport: TransportProtocol) {
        let service = query.service.rawValue + (transport.isSecure ? "s" : "")
        switch addServices("_\(service)._\(transport.recordProtocol).\(host)", transport) {
        case .found: break
        case .declined: isDeclined = true
        case .nothing: add(addresses(host), transport.standardPort, transport)
        }
    }

    private enum ServiceResult {
        case found
        case declined
        case nothing
    }

    /// Adds what the SRV records of a name lead to.
    private mutating func addServices(_ name: String, _ transport: TransportProtocol) -> ServiceResult {
        var services: [DNSService] = []
        for case .service(let service) in records(name, .srv) { services.append(service) }
        guard !services.isEmpty else { return .nothing }
        services.removeAll { $0.target.isEmpty || $0.target == "." || $0.port == 0 }
        guard !services.isEmpty else { return .declined }
        for service in Self.ordered(services, using: &entropy) {
            add(addresses(service.target), service.port, transport)
        }
        return .found
    }

    /// By priority; within one, drawn by weight: who has weight 0 is drawn first only by the rarest of numbers.
    static func ordered(_ services: [DNSService], using entropy: inout Entropy) -> [DNSService] {
        var result: [DNSService] = []
        for priority in Set(services.map(\.priority)).sorted() {
            // Equal weights stand in an order that does not depend on the name server's.
            var rest = services.filter { $0.priority == priority }
                .sorted { ($0.weight, $0.target, $0.port) < ($1.weight, $1.target, $1.port) }
            while rest.count > 1 {
                let sum = rest.reduce(0) { $0 + Int($1.weight) }
                var number = Int.random(in: 0...sum, using: &entropy)
                let index =
                    sum == 0
                    ? Int.random(in: 0..<rest.count, using: &entropy)
                    : rest.firstIndex {
                        number -= Int($0.weight)
                        return number <= 0
                    }
                result.append(rest.remove(at: index ?? 0))
            }
            result += rest
        }
        return result
    }

    // MARK: S-NAPTR (RFC 3958)

    /// Step 4; `false` if the name has no records about relays, so that step 5 follows.
    private mutating func walkPointers(_ offered: [TransportProtocol]) -> Bool {
        var name = host
        var pointers = relayPointers(name)
        guard !pointers.isEmpty else { return false }
        // One record that leads to other records ranks nothing: the set that it leads to is the first one that does
        // (RFC 5928 §4.2 has the order of §4.1 for it).
        var depth = 1
        while pointers.count == 1, pointers[0].flags.isEmpty, depth < ServerResolution.depthLimit {
            let tags = pointers[0].tags
            name = pointers[0].replacement
            pointers = relayPointers(name).compactMap { $0.keeping(tags) }
            depth += 1
        }
        let ranks = Set(pointers.map(\.rank)).sorted()
        for rank in ranks {
            for transport in offered {
                for pointer in pointers where pointer.rank == rank && pointer.tags.contains(transport.tag) {
                    follow(pointer, transport, depth)
                }
            }
        }
        isDeclined = true
        return true
    }

    private mutating func follow(_ pointer: Pointer, _ transport: TransportProtocol, _ depth: Int) {
        guard depth < ServerResolution.depthLimit else { return }
        switch pointer.flags {
        case "s": _ = addServices(pointer.replacement, transport)
        case "a": add(addresses(pointer.replacement), transport.standardPort, transport)
        case "":
            guard followed.insert("\(transport) \(pointer.replacement.lowercased())").inserted else { return }
            let next = relayPointers(pointer.replacement).filter { $0.tags.contains(transport.tag) }
            for pointer in next.sorted(by: { $0.rank < $1.rank }) { follow(pointer, transport, depth + 1) }
        default: break
        }
    }

    private mutating func relayPointers(_ name: String) -> [Pointer] {
        var list: [Pointer] = []
        for case .pointer(let record) in records(name, .naptr) {
            if let pointer = Pointer(record) { list.append(pointer) }
        }
        return list
    }

    /// A NAPTR record of the service RELAY.
    private struct Pointer {
        let rank: UInt32
        let flags: String
        let tags: Set<String>
        let replacement: String

        init?(_ record: DNSPointer) {
            let parts = record.service.lowercased().split(separator: ":").map(String.init)
            guard parts.first == "relay", record.replacement != ".", !record.replacement.isEmpty else { return nil }
            rank = UInt32(record.order) << 16 | UInt32(record.preference)
            flags = record.flags.lowercased()
            tags = Set(parts.dropFirst())
            replacement = record.replacement
        }

        private init(_ other: Pointer, tags: Set<String>) {
            rank = other.rank
            flags = other.flags
            self.tags = tags
            replacement = other.replacement
        }

        func keeping(_ tags: Set<String>) -> Pointer? {
            let common = self.tags.intersection(tags)
            return common.isEmpty ? nil : Pointer(self, tags: common)
        }
    }
}
