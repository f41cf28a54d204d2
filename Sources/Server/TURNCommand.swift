import CommandLineSupport
import Instruments
import NetTypes
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
        notes: "Exit code 0 if data came through, else 1."
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
        let (username, password) = try InstrumentOptions.credentials(arguments, for: "turn")
        let context = try InstrumentOptions.context(arguments, carrier, protocolName: "stun.turn")
        let target = try InstrumentOptions.target(uri.host.name, uri.port, carrier, context)
        var probe = TURNProbe(target, username: username, password: password)
        probe.count = try arguments.number("count", in: 1...10_000) ?? 5
        if arguments.has("ipv6") { probe.families = .only(.ipv6) }
        if let path = arguments.text("send") {
            guard let bytes = try PrivateFile.read(path, limit: 64 << 20) else {
                throw UsageError("There is no file '\(path)'.")
            }
            probe.file = bytes
        }
        let report: TURNProbe.Report
        do throws(InstrumentError) {
            report = try probe.run()
        } catch {
            throw InstrumentOptions.sentence(error)
        }
        Console.print(Self.text(report, carrier))
        return report.failure == nil ? 0 : 1
    }

    static func text(_ report: TURNProbe.Report, _ carrier: TransportProtocol) -> String {
        var rows = [("server", "\(report.server) over \(carrier.description.uppercased())")]
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
        if let failure = report.failure { rows.append(("failure", failure)) }
        return InstrumentOptions.table(rows)
    }
}
