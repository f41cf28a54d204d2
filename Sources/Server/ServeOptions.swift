public import CommandLineSupport
public import Diagnostics
public import NetTypes
public import Transport

/// What `serve` was asked to do: the command line, checked and with its defaults.
public struct ServeOptions: Sendable {
    /// When TURN over TLS is offered to browsers, which refuse certificates that they do not trust.
    public enum AdvertiseTLS: String, Sendable, CaseIterable {
        /// Only with a certificate from `--cert`.
        case auto
        /// Also with the certificate that Floe made.
        case always
        /// Not at all.
        case never
    }

    /// An external address and, if given, the local one that it stands for.
    public struct ExternalAddress: Sendable, Equatable, LosslessStringConvertible {
        /// The address that peers see.
        public let external: IPAddress
        /// The address of this machine that is meant, or `nil` for all of that family.
        public let local: IPAddress?

        /// Reads `EXTERNAL` or `EXTERNAL/LOCAL`, both of one family.
        public init?(_ description: String) {
            let parts = description.split(separator: "/", omittingEmptySubsequences: false)
            guard let first = parts.first, parts.count <= 2, let external = IPAddress(text: first) else { return nil }
            self.external = external
            guard parts.count == 2 else {
                local = nil
                return
            }
            guard let local = IPAddress(text: parts[1]), local.family == external.family else { return nil }
            self.local = local
        }

        /// `EXTERNAL` or `EXTERNAL/LOCAL`.
        public var description: String { local.map { "\(external)/\($0)" } ?? "\(external)" }
    }

    /// Where a certificate and its key are.
    public struct CertificateFiles: Sendable, Equatable {
        /// The path of the certificate chain.
        public let chain: String
        /// The path of the private key.
        public let key: String
    }

    /// Where the kernel relays bound channels by itself.
    public enum FastPathChoice: Sendable, Equatable {
        /// Nowhere.
        case off
        /// At every interface, if it can be had.
        case auto
        /// At these interfaces, or the server does not start.
        case interfaces([String])
    }

    /// Two different addresses of one family.
    public struct AddressPair: Sendable, Equatable, LosslessStringConvertible {
        /// The first address.
        public let first: IPAddress
        /// The second address.
        public let second: IPAddress

        /// Reads `FIRST/SECOND`.
        public init?(_ description: String) {
            let parts = description.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count == 2, let first = IPAddress(text: parts[0]), let second = IPAddress(text: parts[1]),
                first.family == second.family, first != second
            else { return nil }
            self.first = first
            self.second = second
        }

        /// `FIRST/SECOND`.
        public var description: String { "\(first)/\(second)" }
    }

    /// A user with a fixed password.
    public struct StaticUser: Sendable, Equatable, LosslessStringConvertible {
        /// The name, without a colon.
        public let name: String
        /// The password; may hold colons.
        public let password: String

        /// Reads `NAME:PASSWORD`, neither empty, the name under 509 bytes (RFC 8489 §14.3).
        public init?(_ description: String) {
            let parts = description.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, parts[0].utf8.count < 509 else { return nil }
            name = String(parts[0])
            password = String(parts[1])
        }

        /// The name; the password does not print.
        public var description: String { "\(name):…" }
    }

    /// Ports from the first to the last.
    public struct PortRange: Sendable, Equatable, LosslessStringConvertible {
        /// The ports.
        public let ports: ClosedRange<UInt16>

        /// Reads `FIRST-LAST`, both at least 1024.
        public init?(_ description: String) {
            let parts = description.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 2, let first = UInt16(parts[0]), let last = UInt16(parts[1]), 1024 <= first,
                first <= last
            else { return nil }
            ports = first...last
        }

        /// `FIRST-LAST`.
        public var description: String { "\(ports.lowerBound)-\(ports.upperBound)" }
    }

    /// Addresses to listen on; empty for all of both families.
    public var listen: [IPAddress]
    /// Port of STUN and TURN over UDP and TCP.
    public var turnPort: UInt16
    /// Port of TURN over TLS, 0 for none.
    public var turnsPort: UInt16
    /// Port of TURN over DTLS (UDP), 0 for no DTLS on any port.
    public var dtlsPort: UInt16
    /// Port of HTTPS, 0 for none.
    public var httpsPort: UInt16
    /// Port of HTTP on loopback, 0 for none.
    public var httpPort: UInt16
    /// The state directory, or `nil` for the user's default.
    public var state: String?
    /// The operator's certificates, the default first; empty for a certificate of our own.
    public var certificates: [CertificateFiles]
    /// From where connections begin with the PROXY protocol's header.
    public var proxies: [IPPrefix]
    /// The name that clients reach the server by, or `nil` for that of their request.
    public var publicHost: String?
    /// The realm of TURN credentials.
    public var realm: String
    /// When TURN over TLS is offered.
    public var advertiseTLS: AdvertiseTLS
    /// Local addresses to relay from; empty for those that are found.
    public var relayAddresses: [IPAddress]
    /// Addresses that peers see in place of local ones.
    public var externalAddresses: [ExternalAddress]
    /// Ports to relay from.
    public var relayPorts: ClosedRange<UInt16>
    /// Ranges that may be relayed to although they are denied by default.
    public var allowedPeers: [IPPrefix]
    /// Ranges that are never relayed to.
    public var deniedPeers: [IPPrefix]
    /// Whether clients may use the channel numbers of RFC 5766.
    public var acceptsLegacyChannels: Bool
    /// Pairs of addresses for NAT behaviour discovery, at most one of each family.
    public var natDiscovery: [AddressPair]
    /// The second port of NAT behaviour discovery.
    public var natDiscoveryPort: UInt16
    /// Servers for clients that find no room here.
    public var alternateServers: [SocketAddress]
    /// Whether Binding requests of RFC 3489 are answered.
    public var answersRFC3489: Bool
    /// Whether clients may have relayed TCP addresses.
    public var relaysTCP: Bool
    /// Whether allocations may follow their clients to other addresses.
    public var allowsMobility: Bool
    /// Allocations that one user may have.
    public var userQuota: Int
    /// Answers a second to requests without credentials from one address (IPv6: one /64).
    public var prefixRate: Int
    /// Allocations in all.
    public var totalQuota: Int
    /// Kilobits in each second that one allocation, one user and all together may relay, or `nil` for no limit.
    public var allocationBandwidth: Int?
    /// What all allocations of one user may relay.
    public var userBandwidth: Int?
    /// What the server may relay.
    public var totalBandwidth: Int?
    /// Users with fixed passwords.
    public var users: [StaticUser]
    /// Files with users, `NAME:PASSWORD` in a line.
    public var userFiles: [String]
    /// Secrets of ephemeral credentials, besides the state's own.
    public var secrets: [String]
    /// Files with such secrets, one in a line.
    public var secretFiles: [String]
    /// Files with keys for `/turn`, one in a line.
    public var apiKeyFiles: [String]
    /// Files with keys of access tokens.
    public var tokenKeyFiles: [String]
    /// The name that access tokens for this server are made for.
    public var tokenServerName: String
    /// Keys for `/turn`.
    public var apiKeys: [String]
    /// Other origins that may use the signaling.
    public var origins: [String]
    /// Who may read the metrics besides loopback.
    public var metricsFrom: [IPPrefix]
    /// Where the kernel relays bound channels by itself.
    public var fastPath: FastPathChoice
    /// Threads that relay, or `nil` for one per core.
    public var threads: Int?
    /// How long SIGTERM lets allocations live on while none is made.
    public var drainTime: TimeSpan
    /// How datagrams are received and sent.
    public var io: DatagramBackEnd
    /// The least level that is logged.
    public var logLevel: LogLevel
    /// How log lines look, or `nil` to decide by where they go.
    public var logFormat: LineFormat?
    /// How much of clients' addresses is logged.
    public var logAddresses: AddressPolicy
    /// Whether passwords, secrets or keys stand on the command line, where everybody can read them.
    public var showsSecrets: Bool
    /// The options as they were given, to be compared when they are read again.
    let arguments: ParsedArguments

    /// Reads the options of `serve`.
    ///
    /// - Throws: a sentence about the first thing that is wrong.
    public init(_ arguments: ParsedArguments) throws(UsageError) {
        func port(_ name: String, _ standard: UInt16, orNone: Bool = true) throws(UsageError) -> UInt16 {
            try arguments.number(name, in: (orNone ? 0 : 1)...65535).map(UInt16.init) ?? standard
        }
        func choice<Choice: RawRepresentable<String> & CaseIterable>(
            _ name: String,
            _ type: Choice.Type
        ) throws(UsageError) -> Choice? {
            guard let text = arguments.text(name) else { return nil }
            guard let choice = Choice(rawValue: text) else {
                let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw UsageError("'\(text)' is not right for '--\(name)': it takes one of \(names).")
            }
            return choice
        }
        self.arguments = arguments
        showsSecrets = ["user", "secret", "api-key"].contains(where: arguments.has)
        let address = "an IPv4 or IPv6 address"
        let prefix = "an address range such as 10.0.0.0/8"
        listen = try arguments.values("listen", address)
        turnPort = try port("turn-port", 3478, orNone: false)
        turnsPort = try port("turns-port", 5349)
        dtlsPort = try port("dtls-port", 5349)
        httpsPort = try port("https-port", 8443)
        httpPort = try port("http-port", 8080)
        state = arguments.text("state")
        let (chains, keys) = (arguments.texts("cert"), arguments.texts("key"))
        guard chains.count <= keys.count else { throw UsageError("'--cert' needs '--key FILE' beside it.") }
        guard keys.count <= chains.count else { throw UsageError("'--key' needs '--cert FILE' beside it.") }
        certificates = zip(chains, keys).map(CertificateFiles.init)
        proxies = try arguments.values("proxy-protocol-from", prefix)
        publicHost = arguments.text("public-host")
        _ = try WebSetup.host(publicHost)
        realm = arguments.text("realm") ?? "floe"
        guard realm.utf8.count < 128, realm.utf8.allSatisfy({ (0x20...0x7E).contains($0) && $0 != 0x22 && $0 != 0x5C })
        else {
            throw UsageError("'--realm' takes at most 127 printable ASCII characters without quotes or backslashes.")
        }
        advertiseTLS = try choice("advertise-tls", AdvertiseTLS.self) ?? .auto
        relayAddresses = try arguments.values("relay-ip", address)
        externalAddresses = try arguments.values("external-ip", "an address, or EXTERNAL/LOCAL of one family")
        relayPorts =
            try arguments.value("relay-ports", "FIRST-LAST within 1024-65535", as: PortRange.self)?.ports
            ?? 49152...65535
        allowedPeers = try arguments.values("allow-peer", prefix)
        deniedPeers = try arguments.values("deny-peer", prefix)
        acceptsLegacyChannels = arguments.has("legacy-channels")
        natDiscovery = try arguments.values("nat-discovery", "two addresses of one family, FIRST/SECOND")
        natDiscoveryPort = try port("nat-discovery-port", 3479, orNone: false)
        alternateServers = try arguments.values("alternate-server", "ADDRESS:PORT")
        for alternate in alternateServers where alternate.port == 0 {
            throw UsageError(
                "'\(alternate)' is not right for '--alternate-server': it takes ADDRESS:PORT, with a port."
            )
        }
        answersRFC3489 = arguments.has("rfc3489")
        relaysTCP = arguments.has("tcp-relay")
        prefixRate = try arguments.number("prefix-rate", in: 1...100_000_000) ?? 200
        allowsMobility = arguments.has("mobility")
        userQuota = try arguments.number("user-quota", in: 1...1_000_000) ?? 100
        totalQuota = try arguments.number("total-quota", in: 1...1_000_000) ?? 10_000
        let kilobits = 1...1_000_000_000
        allocationBandwidth = try arguments.number("allocation-kbps", in: kilobits)
        userBandwidth = try arguments.number("user-kbps", in: kilobits)
        totalBandwidth = try arguments.number("total-kbps", in: kilobits)
        users = try arguments.values("user", "NAME:PASSWORD")
        userFiles = arguments.texts("user-file")
        secrets = arguments.texts("secret")
        guard secrets.allSatisfy({ $0.utf8.count >= 16 }) else {
            throw UsageError("'--secret' takes at least 16 characters: make one with 'openssl rand -hex 16'.")
        }
        secretFiles = arguments.texts("secret-file")
        apiKeyFiles = arguments.texts("api-key-file")
        tokenKeyFiles = arguments.texts("oauth-key-file")
        tokenServerName = arguments.text("oauth-server-name") ?? realm
        guard tokenServerName.utf8.count <= 255 else {
            throw UsageError("'--oauth-server-name' takes at most 255 bytes.")
        }
        guard !tokenKeyFiles.isEmpty || !arguments.has("oauth-server-name") else {
            throw UsageError("'--oauth-server-name' needs '--oauth-key-file FILE' beside it.")
        }
        apiKeys = arguments.texts("api-key")
        guard apiKeys.allSatisfy({ $0.utf8.count >= 16 }) else {
            throw UsageError("'--api-key' takes at least 16 characters: make one with 'openssl rand -hex 16'.")
        }
        origins = arguments.texts("origin").map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
        for origin in origins where !origin.hasPrefix("https://") && !origin.hasPrefix("http://") {
            throw UsageError("'\(origin)' is not right for '--origin': it takes an origin such as https://example.org.")
        }
        metricsFrom = try arguments.values("metrics-from", prefix)
        let fastPaths = arguments.texts("fast-path")
        switch fastPaths {
        case [], ["off"]: fastPath = .off
        case ["auto"]: fastPath = .auto
        default:
            guard !fastPaths.contains("auto"), !fastPaths.contains("off") else {
                throw UsageError("'--fast-path' takes 'auto' or 'off' alone, or interfaces.")
            }
            fastPath = .interfaces(fastPaths)
        }
        threads = try arguments.number("threads", in: 1...256)
        drainTime = .seconds(UInt64(try arguments.number("drain-time", in: 0...86_400) ?? 0))
        io = try choice("io", DatagramBackEnd.self) ?? .automatic
        logLevel = try arguments.value("log-level", "debug, info, warning or error") ?? .info
        logFormat = try choice("log-format", LineFormat.self)
        logAddresses = try choice("log-addresses", AddressPolicy.self) ?? .truncated
        try Self.checkPorts(self)
    }

    private static func checkPorts(_ options: ServeOptions) throws(UsageError) {
        var ports: [(String, UInt16)] = [
            ("--turn-port", options.turnPort), ("--turns-port", options.turnsPort),
            ("--https-port", options.httpsPort), ("--http-port", options.httpPort),
        ]
        if !options.natDiscovery.isEmpty { ports.append(("--nat-discovery-port", options.natDiscoveryPort)) }
        // DTLS shares a port with anything: with TCP's services by nature, with STUN and TURN by the first byte.
        if options.relayPorts.contains(options.dtlsPort) { ports.append(("--dtls-port", options.dtlsPort)) }
        for (index, (name, port)) in ports.enumerated() where port != 0 {
            if let (other, _) = ports[..<index].first(where: { $0.1 == port }) {
                // TURN over TLS and HTTPS are told apart on one port.
                if other == "--turns-port", name == "--https-port" { continue }
                throw UsageError("'\(other)' and '\(name)' are both \(port): give each service a port of its own.")
            }
            if options.relayPorts.contains(port) {
                throw UsageError(
                    "'\(name)' is \(port), which lies within '--relay-ports': choose ranges that do not overlap."
                )
            }
        }
    }
}
