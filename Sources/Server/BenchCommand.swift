import Bench
import CommandLineSupport
import EventLoop
import Instruments
import NetTypes
import Resolution
import STUN
import TURN

/// The command `bench`: puts a TURN server under load and measures what it does.
enum BenchCommand {
    static let specification = CommandSpecification(
        "bench",
        "Put a TURN server under load: packets, latency, loss, and what it costs the server.",
        [
            InstrumentOptions.credentials,
            (
                "The load",
                [
                    OptionSpecification(
                        "load",
                        "KIND",
                        standard: "channels",
                        help: "channels, indications, allocations or bindings"
                    ),
                    OptionSpecification("clients", "N", standard: "100", help: "clients, each with one allocation"),
                    OptionSpecification("peers", "N", standard: "10", help: "peers, which the allocations share"),
                    OptionSpecification(
                        "direction",
                        "WAY",
                        standard: "to-peers",
                        help: "to-peers, to-clients or both"
                    ),
                    OptionSpecification("size", "BYTES", standard: "172", help: "payload of a packet"),
                    OptionSpecification("burst", "N", standard: "1", help: "packets of a flow in a row"),
                    OptionSpecification("rate", "N", help: "packets a second; otherwise as many as come through"),
                    OptionSpecification("window", "N", standard: "512", help: "packets on their way without a rate"),
                    OptionSpecification("seconds", "N", standard: "5", help: "how long to measure"),
                    OptionSpecification("warm-up", "N", standard: "1", help: "seconds before that"),
                    OptionSpecification("merge", help: "send bursts with UDP_SEGMENT, receive with UDP_GRO"),
                    OptionSpecification("local", "ADDRESS", help: "where clients, or their sockets, are bound"),
                    OptionSpecification(
                        "client-block",
                        "PREFIX",
                        help: "an address of it for each client, one socket for all, as 127.1.0.0/16"
                    ),
                    OptionSpecification("peer-address", "ADDRESS", help: "where peers are bound (as clients)"),
                ]
            ),
            (
                "What to read and to print",
                [
                    OptionSpecification("server-pid", "PID", help: "the server's process, if it runs here"),
                    OptionSpecification(
                        "server-thread",
                        "NAME",
                        repeats: true,
                        help: "a kernel thread that works for it, as napi/s0"
                    ),
                    OptionSpecification("label", "TEXT", help: "a name for the result"),
                    OptionSpecification("json", help: "one line of JSON in place of the table"),
                    OptionSpecification(
                        "chart",
                        "FILE",
                        help: "measure nothing: draw the lines of JSON in a file as SVG"
                    ),
                    OptionSpecification(
                        "chart-of",
                        "WHAT",
                        standard: "processor",
                        help: "what to draw: processor, latency, memory or rate"
                    ),
                ]
            ),
            InstrumentOptions.certificate,
        ],
        operand: (
            "URI",
            "turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT][?transport=udp|tcp]; turns with udp is DTLS"
        ),
        notes: """
            The server must let its clients reach peers on this machine and take that many: start floe with
            --allow-peer ADDRESS/32 and --user-quota N, and for bindings with --prefix-rate N. Load only servers
            that are yours. Exit code 1 if a packet was corrupt or nothing came through.
            """
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        if let path = arguments.text("chart") { return try draw(path, arguments) }
        let plan = try plan(arguments)
        let reporter = ProgressLine()
        let result: BenchResult
        do throws(BenchError) {
            result = try BenchRun(plan) { reporter.show($0) }.run()
        } catch {
            reporter.clear()
            let text = error.description
            throw UsageError(text.prefix(1).uppercased() + text.dropFirst() + ".")
        }
        reporter.clear()
        Console.print(arguments.has("json") ? result.json + "\n" : InstrumentOptions.table(result.rows))
        return result.received > 0 && result.corrupt == 0 ? 0 : 1
    }

    /// Draws what earlier measurements have found.
    private static func draw(_ path: String, _ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let quantity = try choice(arguments, "chart-of", BenchChart.Quantity.self) ?? .processor
        guard let bytes = try PrivateFile.read(path, limit: 64 << 20) else {
            throw UsageError("There is no file '\(path)'.")
        }
        do throws(BenchError) {
            Console.print(try BenchChart(lines: String(decoding: bytes, as: UTF8.self), of: quantity).svg)
            return 0
        } catch {
            throw UsageError("'\(path)' cannot be drawn: \(error).")
        }
    }

    private static func plan(_ arguments: ParsedArguments) throws(UsageError) -> BenchPlan {
        let target = try server(arguments)
        let load = try choice(arguments, "load", BenchPlan.Load.self) ?? .channels
        var plan = BenchPlan(target, username: "", password: "")
        if load != .bindings {
            (plan.username, plan.password) = try InstrumentOptions.credentials(arguments, for: "bench")
        }
        plan.load = load
        plan.direction = try choice(arguments, "direction", BenchPlan.Direction.self) ?? .toPeers
        plan.clients = try arguments.number("clients", in: 1...20_000) ?? plan.clients
        plan.peers = try arguments.number("peers", in: 1...1000) ?? plan.peers
        plan.packetBytes = try arguments.number("size", in: 24...60_000) ?? plan.packetBytes
        plan.burst = try arguments.number("burst", in: 1...64) ?? 1
        plan.packetsPerSecond = try arguments.number("rate", in: 1...10_000_000)
        plan.window = try arguments.number("window", in: 1...1_000_000) ?? plan.window
        plan.duration = .seconds(UInt64(try arguments.number("seconds", in: 1...86_400) ?? 5))
        plan.warmUp = .seconds(UInt64(try arguments.number("warm-up", in: 0...600) ?? 1))
        plan.mergesPackets = arguments.has("merge")
        plan.localAddress = try arguments.value("local", "an IP address", as: IPAddress.self)
        plan.clientBlock = try arguments.value("client-block", "a prefix, as 127.1.0.0/16", as: IPPrefix.self)
        plan.peerAddress = try arguments.value("peer-address", "an IP address", as: IPAddress.self)
        plan.serverProcess = try arguments.number("server-pid", in: 1...Int(Int32.max)).map { Int32($0) }
        plan.serverThreads = arguments.texts("server-thread")
        plan.label = arguments.text("label") ?? ""
        if let block = plan.clientBlock {
            guard target.transport == .udp, load != .bindings, block.base.family == target.address.family else {
                throw UsageError("'--client-block' is for allocations over UDP, with addresses of the server's family.")
            }
            guard plan.fitsClientBlock else {
                throw UsageError("'--client-block \(block)' has too few addresses for \(plan.clients) clients.")
            }
        }
        guard target.transport != .dtls || plan.packetBytes <= 4000 else {
            throw UsageError("'--size \(plan.packetBytes)' does not fit into a DTLS record here: at most 4000 bytes.")
        }
        guard plan.window >= plan.burst else {
            throw UsageError("'--window' is less than '--burst': nothing could be sent.")
        }
        guard plan.burst * plan.packetBytes <= 65_000 || !plan.mergesPackets else {
            throw UsageError(
                "A burst of \(plan.burst) packets of \(plan.packetBytes) bytes cannot be merged: at most 65000 bytes."
            )
        }
        return plan
    }

    private static func server(_ arguments: ParsedArguments) throws(UsageError) -> ServerTarget {
        guard let text = arguments.operand else { throw UsageError("'bench' needs a server: floe bench turn:HOST.") }
        let uri: TURNURI
        do throws(URIError) { uri = try TURNURI(text) } catch {
            throw UsageError("'\(text)' is no TURN server: \(error).")
        }
        let carrier = uri.carrier
        let context = try InstrumentOptions.context(arguments, carrier, protocolName: "stun.turn")
        return try InstrumentOptions.target(ServerQuery(uri, supported: [carrier]), context)
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ arguments: ParsedArguments,
        _ name: String,
        _: Choice.Type
    ) throws(UsageError) -> Choice? {
        guard let text = arguments.text(name) else { return nil }
        guard let found = Choice(rawValue: text) else {
            let all = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("'--\(name) \(text)' is none of: \(all).")
        }
        return found
    }
}

/// A line on the terminal that says how far a measurement has come; nothing where no person looks.
private final class ProgressLine {
    private let isShown = Console.isErrorTerminal

    func show(_ progress: BenchProgress) {
        guard isShown else { return }
        switch progress {
        case .allocating(let count, let all): write("\(count) of \(all) allocations")
        case .relaying(let rate, let end):
            let left = (end - min(end, MonotonicClock.now())).seconds + 1
            write("\(rate) packets a second, \(left) s to go")
        }
    }

    func clear() { if isShown { write("") } }

    private func write(_ text: String) { Console.write("\r\u{1B}[K" + text, to: 2) }
}
