import Bytes
import CommandLineSupport
import Instruments
import NameResolver
import NetTypes
import Resolution
import STUN
import TURN

/// The command `turn`: proves that a TURN server relays.
enum TURNCommand {
    static let specification = CommandSpecification(
        "turn",
        "Make two allocations on a TURN server and send data from one to the other and back.",
        [
            InstrumentOptions.credentials,
            (
                "In place of a password",
                [
                    OptionSpecification(
                        "token-file",
                        "FILE",
                        help: "an access token with its key, as 'floe token mint' prints it (RFC 7635)"
                    )
                ]
            ),
            (
                "What to send",
                [
                    OptionSpecification("count", "N", standard: "5", help: "how many datagrams"),
                    OptionSpecification("send", "FILE", help: "a file of at most 64 MB, in pieces"),
                    OptionSpecification("ipv6", help: "ask for relayed addresses of IPv6"),
                    OptionSpecification(
                        "tcp-relay",
                        help: "over a TCP connection between the two allocations (RFC 6062)"
                    ),
                ]
            ),
            (
                "In place of a URI",
                [
                    OptionSpecification(
                        "discover",
                        help:
                            "find servers by the records of this machine's domain, then at the anycast addresses (RFC 8155)"
                    ),
                    OptionSpecification("domain", "NAME", help: "with --discover: the domain to look in"),
                ]
            ),
            InstrumentOptions.certificate,
        ],
        operand: (
            "URI",
            "turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT][?transport=udp|tcp]; turns with udp is DTLS"
        ),
        notes:
            "Without a transport in the URI, TCP is tried if UDP is not answered. What --discover finds is used only over TLS "
            + "or DTLS with a certificate for the domain, or if the server knows the credentials; an anycast address only to "
            + "be sent elsewhere. Exit code 0 if data came through, else 1."
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let discovers = arguments.has("discover") || arguments.has("domain")
        guard !discovers || arguments.operand == nil else {
            throw UsageError("'--discover' stands in place of a URI: leave one out.")
        }
        if discovers { return try discover(arguments, credentials(arguments)) }
        guard let text = arguments.operand else {
            throw UsageError("'turn' needs a server: floe turn turn:HOST, or floe turn --discover.")
        }
        let uri: TURNURI
        do throws(URIError) {
            uri = try TURNURI(text)
        } catch {
            throw UsageError("'\(text)' is no TURN server: \(error).")
        }
        let credentials = try credentials(arguments)
        let tcpRelay = arguments.has("tcp-relay")
        // Connections are relayed only to who is connected; a URI without a transport leaves that to us.
        let carrier = tcpRelay && uri.transport == nil && !uri.isSecure ? .tcp : uri.carrier
        guard !tcpRelay || carrier.isStream else {
            throw UsageError("'--tcp-relay' needs a server over TCP or TLS: floe turn turn:HOST?transport=tcp.")
        }
        let context = try InstrumentOptions.context(arguments, carrier, protocolName: "stun.turn")
        let targets = try InstrumentOptions.targets(ServerQuery(uri, supported: [carrier]), context)
        var probe = TURNProbe(targets.first, credentials)
        probe.fallbacks = targets.others
        if uri.transport == nil, carrier == .udp {
            let found = try? ServerTarget.find(ServerQuery(uri, supported: [.tcp]), tls: context)
            probe.fallbacks += (found ?? []).prefix(1)
        }
        return try run(&probe, arguments)
    }

    /// Tries the servers that nobody has configured, one after the other.
    private static func discover(
        _ arguments: ParsedArguments,
        _ credentials: TURNClientCredentials
    ) throws(UsageError) -> Int32 {
        let tcpRelay = arguments.has("tcp-relay")
        let supported = TransportProtocol.allCases.filter { !tcpRelay || $0.isStream }
        let found = ServerFinder.discover(in: arguments.text("domain"), supported: supported)
        let servers = found + (tcpRelay || arguments.has("domain") ? [] : ServerDiscovery.anycastServers)
        guard !servers.isEmpty else {
            throw UsageError("No TURN server was found: the domain has no NAPTR records of the service RELAY.")
        }
        var code: Int32 = 1
        for server in servers {
            let transport = server.candidate.transport
            let proof = server.proof(checksCertificates: !arguments.has("insecure"), hasCredentials: true)
            guard let proof else { continue }
            let context = try InstrumentOptions.context(arguments, transport, protocolName: "stun.turn")
            let tls = context.map { TLSChoice($0, serverName: server.candidate.serverName) }
            var probe = TURNProbe(ServerTarget(server.candidate.address, transport, tls: tls), credentials)
            probe.isAnycast = proof == .integrityAndRedirection
            code = try run(&probe, arguments, found: "\(server.origin)")
            if code == 0 { return 0 }
        }
        return code
    }

    private static func run(
        _ probe: inout TURNProbe,
        _ arguments: ParsedArguments,
        found origin: String? = nil
    ) throws(UsageError) -> Int32 {
        probe.count = try arguments.number("count", in: 1...10_000) ?? 5
        probe.relaysConnections = arguments.has("tcp-relay")
        if arguments.has("ipv6") { probe.families = .only(.ipv6) }
        if let path = arguments.text("send") {
            guard !probe.relaysConnections else {
                throw UsageError("'--send' goes over datagrams: leave '--tcp-relay' out.")
            }
            guard let bytes = try PrivateFile.read(path, limit: 64 << 20) else {
                throw UsageError("There is no file '\(path)'.")
            }
            probe.file = bytes
            if Console.isErrorTerminal {
                probe.progress = { Console.write("\r  \($0 * 100 / max(1, bytes.count)) % ", to: 2) }
            }
        }
        let report: TURNProbe.Report
        do throws(InstrumentError) {
            report = try probe.run()
        } catch {
            throw InstrumentOptions.sentence(error)
        }
        if probe.progress != nil { Console.write("\r        \r", to: 2) }
        if let origin { Console.print(InstrumentOptions.table([("found", origin)])) }
        Console.print(Self.text(report))
        return report.failure == nil ? 0 : 1
    }

    private static func credentials(_ arguments: ParsedArguments) throws(UsageError) -> TURNClientCredentials {
        guard let path = arguments.text("token-file") else {
            let (username, password) = try InstrumentOptions.credentials(arguments, for: "turn")
            return .password(password, username: username)
        }
        guard !["user", "password", "secret"].contains(where: arguments.has) else {
            throw UsageError("'--token-file' stands in place of '--user', '--password' and '--secret'.")
        }
        return .grant(try AccessTokenFile.grant(path, option: "--token-file").0)
    }

    static func text(_ report: TURNProbe.Report) -> String {
        var rows = [("server", "\(report.server) over \(report.transport.description.uppercased())")]
        if let allocation = report.allocation {
            rows.append(("relayed address", allocation.relayed.map(\.description).joined(separator: ", ")))
            if let mapped = allocation.mapped { rows.append(("mapped address", "\(mapped)")) }
            rows.append(("lifetime", "\(allocation.lifetimeSeconds) s"))
        }
        if let time = report.allocateTime { rows.append(("allocated in", InstrumentOptions.milliseconds(time))) }
        if let second = report.second {
            rows.append(("second address", second.relayed.map(\.description).joined(separator: ", ")))
        }
        if report.sent > 0 { rows.append(("echoed", "\(report.roundTrips.count) of \(report.sent)")) }
        if !report.roundTrips.isEmpty { rows.append(("round trip", InstrumentOptions.spread(report.roundTrips))) }
        if let transfer = report.transfer {
            let seconds = Double(transfer.elapsed.nanoseconds) / 1e9
            let rate = seconds > 0 ? Int(Double(transfer.byteCount) * 8 / seconds / 1000) : 0
            rows.append(
                (
                    "file",
                    "\(transfer.byteCount) bytes in \(InstrumentOptions.milliseconds(transfer.elapsed)), \(rate) kbit/s, "
                        + "\(transfer.repeatedPieces) pieces sent again"
                )
            )
        }
        if let transfer = report.transfer {
            rows.append(("SHA-256", Hex.encode(transfer.digest) + (transfer.isIntact ? ", as sent" : ", NOT as sent")))
        }
        if let failure = report.failure { rows.append(("failure", failure)) }
        return InstrumentOptions.table(rows)
    }
}
