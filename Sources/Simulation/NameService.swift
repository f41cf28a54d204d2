public import NetTypes

/// What names mean, how long it takes to learn it, and who is lied to.
///
/// Departure: questions and answers do not travel as packets. A host with no interface up gets `.failed`.
public struct NameService: Sendable {
    /// What is asked for.
    public enum Kind: Sendable, Hashable {
        /// IPv4 addresses.
        case a
        /// IPv6 addresses.
        case aaaa
        /// Services.
        case srv
    }

    /// What is known of a name.
    public struct Entry: Sendable {
        /// Its addresses of both families.
        public var addresses: [IPAddress]
        /// Its services.
        public var services: [NameAnswer.Service]
        /// How long an answer takes; `nil` takes the service's.
        public var delay: TimeSpan?
        /// Whether questions for it are never answered but with a failure, after the delay.
        public var fails: Bool

        /// Makes an entry.
        public init(
            _ addresses: [IPAddress] = [],
            services: [NameAnswer.Service] = [],
            delay: TimeSpan? = nil,
            fails: Bool = false
        ) {
            self.addresses = addresses
            self.services = services
            self.delay = delay
            self.fails = fails
        }
    }

    /// How long an answer takes.
    public var delay = TimeSpan.milliseconds(20)
    /// The prefix behind which IPv4 addresses are given to hosts that have no other (DNS64, RFC 6147), by host name.
    public var dns64: [String: IPPrefix] = [:]
    /// What a host is told instead of the truth, by host name and then by name: an ad blocker's 0.0.0.0, for example.
    public var lies: [String: [String: Entry]] = [:]
    private var entries: [String: Entry] = [:]

    /// Makes a service that knows no names.
    public init() {}

    /// What is known of a name, without regard to case and final dot.
    public subscript(name: String) -> Entry? {
        get { entries[Self.canonical(name)] }
        set { entries[Self.canonical(name)] = newValue }
    }

    static func canonical(_ name: String) -> String {
        name.hasSuffix(".") ? String(name.dropLast()).lowercased() : name.lowercased()
    }

    func answer(_ name: String, _ kind: Kind, for host: String) -> (answer: NameAnswer, delay: TimeSpan) {
        let name = Self.canonical(name)
        let entry = lies[host]?[name] ?? entries[name] ?? Self.wellKnown[name]
        guard let entry else { return (.noSuchName, delay) }
        let time = entry.delay ?? delay
        if entry.fails { return (.failed, time) }
        let ipv4 = entry.addresses.filter { $0.family == .ipv4 }
        let ipv6 = entry.addresses.filter { $0.family == .ipv6 }
        switch kind {
        case .a: return (.addresses(ipv4), time)
        case .aaaa:
            guard ipv6.isEmpty, let prefix = dns64[host] else { return (.addresses(ipv6), time) }
            return (.addresses(ipv4.map { $0.embedded(in: prefix) }), time)
        case .srv: return (.services(entry.services.sorted { $0.priority < $1.priority }), time)
        }
    }

    /// The name by which a NAT64's prefix is found (RFC 7050 §3).
    private static let wellKnown = [
        "ipv4only.arpa": Entry([IPAddress(ipv4: 0xC000_00AA), IPAddress(ipv4: 0xC000_00AB)])
    ]
}

extension SimulatedNetwork {
    func resolve(_ name: String, _ kind: NameService.Kind, for host: SimulatedHost, program: Int) -> UInt64 {
        questionCount += 1
        let canAsk = host.interfaces.contains(where: \.isUp)
        let (answer, delay) = canAsk ? names.answer(name, kind, for: host.name) : (.failed, .seconds(5))
        post(.resolved(questionCount, answer), to: host, program: program, after: delay)
        return questionCount
    }
}
