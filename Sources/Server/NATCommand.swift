import CommandLineSupport
import FoundationEssentials
import Instruments
import NetTypes
import Resolution
import STUN

/// The command `nat`: says what kind of NAT is on the way, and what that means for calls.
enum NATCommand {
    static let specification = CommandSpecification(
        "nat",
        "Find out what kind of NAT is on the way to a server, and what it means for calls (RFC 5780).",
        [
            (
                "What to find out",
                [
                    OptionSpecification("fragments", help: "whether datagrams in fragments come through"),
                    OptionSpecification(
                        "lifetime",
                        "SECONDS",
                        help: "how long a silent flow is remembered, at most so long"
                    ),
                    OptionSpecification("tcp", help: "how TCP connections are mapped, too"),
                    OptionSpecification("json", help: "print it for programs"),
                ]
            )
        ],
        operand: ("HOST[:PORT]", "a STUN server with two addresses, such as 'floe serve --nat-discovery' or coturn"),
        notes:
            "Takes 5 s, and with --lifetime as long as that says. Exit code 0 if the server answers over UDP, else 1."
    )

    /// The silences that are tried, in seconds: all at once, each on a flow of its own.
    static let silences = [10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600]

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        guard let text = arguments.operand else { throw UsageError("'nat' needs a server: floe nat HOST[:PORT].") }
        let uri = try STUNCommand.uri(text, isSecure: false)
        guard !uri.isSecure else { throw UsageError("'nat' looks at UDP and TCP, not at TLS: leave 'stuns' out.") }
        let target = try InstrumentOptions.target(ServerQuery(uri, over: .udp), nil)
        var probe = NATProbe(target.address)
        probe.options.fragments = arguments.has("fragments")
        probe.looksAtTCP = arguments.has("tcp")
        if let longest = try arguments.number("lifetime", in: 1...3600) {
            let shorter = silences.filter { $0 < longest } + [longest]
            probe.options.silences = shorter.map { .seconds(UInt64($0)) }
            probe.progress = { count in
                Console.printError("waiting: \(count) of \(shorter.count) silent flows are still to be asked for")
            }
        }
        let report: NATReport
        do throws(InstrumentError) {
            report = try probe.run()
        } catch {
            throw InstrumentOptions.sentence(error)
        }
        Console.print(arguments.has("json") ? try json(report, target.address) : Self.text(report, target.address))
        return report.hasUDP ? 0 : 1
    }

    static func text(_ report: NATReport, _ server: SocketAddress) -> String {
        var rows = [("server", "\(server) over UDP" + (report.software.map { ", \($0.printable)" } ?? ""))]
        if let local = report.local { rows.append(("local address", "\(local)")) }
        if let mapped = report.mapped { rows.append(("mapped address", "\(mapped)")) }
        if let keeps = report.keepsPort, report.isTranslated == true {
            rows.append(("port kept", keeps ? "yes" : "no"))
        }
        add("mapping", report.mapping, to: &rows) { $0.rawValue }
        add("mapping of TCP", report.tcpMapping, to: &rows) { $0.rawValue }
        add("filtering", report.filtering, to: &rows) { $0.rawValue }
        add("hairpin", report.hairpin, to: &rows) { $0 ? "yes" : "no" }
        add("fragments", report.fragments, to: &rows) { $0 ? "come through" : "are lost" }
        add("silent flows", report.lifetime, to: &rows) { lifetime in
            switch (lifetime.alive, lifetime.gone) {
            case (let alive?, let gone?): "remembered for \(alive.seconds) s, forgotten after \(gone.seconds) s"
            case (let alive?, nil): "remembered for \(alive.seconds) s at least"
            case (nil, let gone?): "forgotten within \(gone.seconds) s"
            case (nil, nil): "not known"
            }
        }
        return InstrumentOptions.table(rows) + "\n" + report.verdict.map { $0 + "\n" }.joined()
    }

    private static func add<Value>(
        _ name: String,
        _ finding: NATFinding<Value>,
        to rows: inout [(String, String)],
        _ words: (Value) -> String
    ) {
        switch finding {
        case .found(let value): rows.append((name, words(value)))
        case .serverLacks(let what): rows.append((name, "not known: the server lacks \(what)"))
        case .untested: break
        }
    }

    /// What `--json` prints; what is not known is left out.
    private struct Output: Encodable {
        let server: String
        let udp: Bool
        let software: String?
        let localAddress: String?
        let mappedAddress: String?
        let isTranslated: Bool?
        let keepsPort: Bool?
        let mapping: String?
        let tcpMapping: String?
        let filtering: String?
        let hairpin: Bool?
        let fragments: Bool?
        let silenceRememberedSeconds: UInt64?
        let silenceForgottenSeconds: UInt64?
        let serverLacks: [String: String]
        let verdict: [String]
    }

    static func json(_ report: NATReport, _ server: SocketAddress) throws(UsageError) -> String {
        var lacks: [String: String] = [:]
        func note<Value>(_ name: String, _ finding: NATFinding<Value>) {
            if case .serverLacks(let what) = finding { lacks[name] = what }
        }
        note("mapping", report.mapping)
        note("tcpMapping", report.tcpMapping)
        note("filtering", report.filtering)
        note("hairpin", report.hairpin)
        note("fragments", report.fragments)
        note("lifetime", report.lifetime)
        let output = Output(
            server: "\(server)",
            udp: report.hasUDP,
            software: report.software,
            localAddress: report.local?.description,
            mappedAddress: report.mapped?.description,
            isTranslated: report.isTranslated,
            keepsPort: report.keepsPort,
            mapping: report.mapping.value?.rawValue,
            tcpMapping: report.tcpMapping.value?.rawValue,
            filtering: report.filtering.value?.rawValue,
            hairpin: report.hairpin.value,
            fragments: report.fragments.value,
            silenceRememberedSeconds: report.lifetime.value?.alive?.seconds,
            silenceForgottenSeconds: report.lifetime.value?.gone?.seconds,
            serverLacks: lacks,
            verdict: report.verdict
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(output) else { throw UsageError("The report cannot be written as JSON.") }
        return String(decoding: json, as: UTF8.self) + "\n"
    }
}

extension String {
    /// The text of a peer's choice without what could move a terminal's cursor, at most 60 characters.
    fileprivate var printable: String { String(prefix(60).filter { $0.isASCII && $0 >= " " && $0 != "\u{7F}" }) }
}
