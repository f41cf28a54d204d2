import Bytes
import CommandLineSupport
import Instruments
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
                ]
            ),
            InstrumentOptions.certificate,
        ],
        operand: (
            "URI",
            "turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT][?transport=udp|tcp]; turns with udp is DTLS"
        ),
        notes:
            "Without a transport in the URI, TCP is tried if UDP is not answered. Exit code 0 if data came through, else 1."
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        guard let text = arguments.operand else { throw UsageError("'turn' needs a server: floe turn turn:HOST.") }
        let uri: TURNURI
        do throws(URIError) {
            uri = try TURNURI(text)
        } catch {
            throw UsageError("'\(text)' is no TURN server: \(error).")
        }
        let carrier = uri.carrier
        let credentials = try credentials(arguments)
        let context = try InstrumentOptions.context(arguments, carrier, protocolName: "stun.turn")
        let targets = try InstrumentOptions.targets(ServerQuery(uri, supported: [carrier]), context)
        var probe = TURNProbe(targets.first, credentials)
        probe.fallbacks = targets.others
        if uri.transport == nil, carrier == .udp {
            let found = try? ServerTarget.find(ServerQuery(uri, supported: [.tcp]), tls: context)
            probe.fallbacks += (found ?? []).prefix(1)
        }
        probe.count = try arguments.number("count", in: 1...10_000) ?? 5
        if arguments.has("ipv6") { probe.families = .only(.ipv6) }
        if let path = arguments.text("send") {
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
