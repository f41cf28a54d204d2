import CommandLineSupport
import Instruments
import NetTypes
import Resolution
import STUN

/// The command `stun`: asks a server from which address it sees us.
enum STUNCommand {
    static let specification = CommandSpecification(
        "stun",
        "Ask a STUN server for our address as it sees it, and how long its answers take.",
        [
            (
                "How",
                [
                    OptionSpecification("tcp", help: "over TCP"),
                    OptionSpecification("tls", help: "over TLS, by default on port 5349"),
                    OptionSpecification("dtls", help: "over DTLS, by default on port 5349"),
                    OptionSpecification("count", "N", standard: "5", help: "how often to ask"),
                ]
            ),
            InstrumentOptions.certificate,
        ],
        operand: ("HOST[:PORT]", "the server; also as a URI, stun:HOST or stuns:HOST"),
        notes: "Exit code 0 if the server has answered, else 1."
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        guard let text = arguments.operand else { throw UsageError("'stun' needs a server: floe stun HOST[:PORT].") }
        let uri = try uri(text, isSecure: arguments.has("tls") || arguments.has("dtls"))
        guard !arguments.has("tcp") || !uri.isSecure else {
            throw UsageError("'--tcp' and TLS exclude each other: leave one out.")
        }
        guard !arguments.has("tls") || !arguments.has("dtls") else {
            throw UsageError("'--tls' and '--dtls' exclude each other: leave one out.")
        }
        let transport: TransportProtocol =
            arguments.has("dtls") ? .dtls : uri.isSecure ? .tls : arguments.has("tcp") ? .tcp : .udp
        let context = try InstrumentOptions.context(arguments, transport, protocolName: "stun.nat-discovery")
        let target = try InstrumentOptions.target(ServerQuery(uri, over: transport), context)
        var probe = STUNProbe(target)
        probe.count = try arguments.number("count", in: 1...1000) ?? 5
        let report: STUNProbe.Report
        do throws(InstrumentError) {
            report = try probe.run()
        } catch {
            throw InstrumentOptions.sentence(error)
        }
        Console.print(Self.text(report, target, probe.count))
        return report.answers.isEmpty ? 1 : 0
    }

    static func uri(_ text: String, isSecure: Bool) throws(UsageError) -> STUNURI {
        do throws(URIError) {
            let lower = text.lowercased()
            if lower.hasPrefix("stun:") || lower.hasPrefix("stuns:") {
                let uri = try STUNURI(text)
                return STUNURI(uri.host, isSecure: uri.isSecure || isSecure)
            }
            // An IPv6 address may stand without brackets if no port follows.
            let host = IPAddress(text)?.family == .ipv6 ? URIHost(text) : try URIHost(text[...])
            return STUNURI(host, isSecure: isSecure)
        } catch {
            throw UsageError("'\(text)' is no STUN server: \(error).")
        }
    }

    static func text(_ report: STUNProbe.Report, _ target: ServerTarget, _ count: Int) -> String {
        var rows = [("server", "\(target.address) over \(target.transport.description.uppercased())")]
        if let mapped = report.mapped {
            rows.append(("mapped address", "\(mapped)"))
            let others = Set(report.answers.map(\.mapped)).subtracting([mapped])
            let list = others.map(\.description).sorted().joined(separator: ", ")
            if !list.isEmpty { rows.append(("also seen as", list)) }
        }
        rows.append(("answers", "\(report.answers.count) of \(count)"))
        if !report.roundTrips.isEmpty { rows.append(("round trip", InstrumentOptions.spread(report.roundTrips))) }
        for failure in Set(report.failures) { rows.append(("failure", words(failure, report))) }
        return InstrumentOptions.table(rows)
    }

    private static func words(_ failure: STUNClient.Failure, _ report: STUNProbe.Report) -> String {
        switch failure {
        case .refused(let code): "the server refused: \(code)"
        case .transaction(.transportFailed): report.connectionFailure ?? "\(TransactionFailure.transportFailed)"
        case .transaction(let reason): "\(reason)"
        }
    }
}
