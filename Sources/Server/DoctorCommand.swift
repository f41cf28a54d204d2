import CommandLineSupport
import Connectivity
import EventLoop
import FoundationEssentials
import ICE
import ICETransport
import NetTypes
import PeerTools
import Synchronization

/// The command `doctor`: tells what stands between this machine and its peers.
enum DoctorCommand {
    static let specification = CommandSpecification(
        "doctor",
        "Find out what stands between this machine and others, alone or in a run with a second person.",
        [
            (
                "What to look at",
                [
                    OptionSpecification("server", "URL", help: "a Floe server, such as https://HOST:8443"),
                    OptionSpecification(
                        "with",
                        "CODE",
                        help: "connect to the person who gives the same code; new makes one"
                    ),
                ] + PeerOptions.codes
            ),
            PeerOptions.path,
            ("Output", [OptionSpecification("json", help: "print the findings for programs")]),
            InstrumentOptions.certificate,
        ],
        notes: """
            Alone, the doctor looks at interfaces, at every way to the servers that --server, --stun and --turn name, at the
            NAT on the way, the longest packets, the gateway's port mappings, and the candidates: six seconds. With
            'floe doctor --server https://HOST:8443 --with new' it prints what the other person is to run; then both see
            whether and how they connect, and why not better.

            Exit code 0 if all is well, 1 if there is no connection, a server gave nothing or nothing reaches it.
            """
    )

    /// What came of a run with a second person, in words and numbers.
    struct Findings: Encodable, Sendable {
        var outcome = "failed"
        var summary = ""
        var findings: [String] = []
        var isRelayed: Bool?
        var local: String?
        var remote: String?
        var connectMilliseconds: Double?
        var roundTripMilliseconds: [Double] = []
        var checksSent: UInt32 = 0
        var candidates: [String] = []
        var mappings: [String] = []
        var serverFailures: [String] = []
    }

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let plan = try PeerPlan(arguments, code: arguments.text("with"), command: "floe doctor", codeOption: "--with ")
        let isJSON = arguments.has("json")
        return try PeerOptions.wait {
            let loop = try ICELoop(plan.loopOptions)
            defer { loop.stop() }
            if plan.isAlone {
                let found = try await plan.examine(loop)
                Console.print(isJSON ? json(found) : DoctorText.text(found))
                return found.isGood ? 0 : 1
            }
            let findings = try await together(plan, loop)
            Console.print(isJSON ? json(findings) : text(findings))
            return ["direct", "relayed"].contains(findings.outcome) ? 0 : 1
        }
    }

    // MARK: Two machines

    private static func together(_ plan: PeerPlan, _ loop: ICELoop) async throws -> Findings {
        let meeting = try await plan.meet(loop)
        let start = MonotonicClock.now()
        var findings = Findings()
        let path = await meeting.path()
        var report: ICEReport?
        if path == .connected {
            findings.connectMilliseconds = milliseconds(MonotonicClock.now() - start)
            (findings.roundTripMilliseconds, report) = await PingPong.run(meeting.connection)
        }
        // Without an exchange that was whole, what is the case now tells why.
        if report == nil { report = await meeting.connection.report() }
        if let report {
            fill(&findings, report)
            findings.outcome = "\(report.verdict.outcome)"
            findings.summary = report.verdict.summary
        }
        if case .failed(let words) = path {
            findings.outcome = "failed"
            findings.summary = [words, report?.verdict.summary].compactMap(\.self).joined(separator: " ")
        }
        await meeting.end()
        return findings
    }

    private static func fill(_ findings: inout Findings, _ report: ICEReport) {
        findings.findings = report.verdict.findings.map(\.cause.sentence)
        findings.isRelayed = report.isRelayed
        findings.local = report.selected?.local?.description
        findings.remote = report.selected?.remote?.description
        findings.checksSent = report.statistics.requestsSent
        findings.candidates = report.candidates.map(\.text)
        findings.mappings = report.mappings.map { "\($0)" }
        findings.serverFailures = report.serverFailures.map { "\($0.server) over \($0.carrier): \($0.failure.words)" }
    }

    private static func milliseconds(_ span: TimeSpan) -> Double { Double(span.nanoseconds / 1000) / 1000 }

    // MARK: Output

    private static func json(_ findings: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return ((try? encoder.encode(findings)).map { String(decoding: $0, as: UTF8.self) } ?? "{}") + "\n"
    }

    private static func text(_ findings: Findings) -> String {
        var rows: [(String, String)] = [("outcome", findings.outcome), ("verdict", findings.summary)]
        rows += findings.findings.dropFirst().map { ("also", $0) }
        if let remote = findings.remote { rows.append(("path", "\(findings.local ?? "here") to \(remote)")) }
        if let time = findings.connectMilliseconds { rows.append(("connected after", "\(time) ms")) }
        if let least = findings.roundTripMilliseconds.min() { rows.append(("round trip", "\(least) ms")) }
        rows += findings.candidates.map { ("candidate", $0) }
        rows += findings.serverFailures.map { ("no answer", $0) }
        return InstrumentOptions.table(rows)
    }
}

/// A few datagrams there and back, so that both ends know that data flows.
///
/// `floe ping N` is answered by `floe pong N`; `floe bye` says that this end has all its answers.
enum PingPong {
    private static let count = 5
    private static let patience = TimeSpan.seconds(5)
    /// How often "bye" is said after the peer has said it: the path may just change, and the peer would wait in vain.
    private static let farewells = 6

    private struct State {
        var sentAt: [Int: Instant] = [:]
        var trips: [Double] = []
        var isPeerDone = false
    }

    private final class Tally: Sendable {
        let state = Mutex(State())
    }

    /// The times there and back, in milliseconds, and how the connection was when all answers had come.
    ///
    /// Afterwards the peer is gone, and its silence says nothing of the path.
    static func run(_ connection: ICEConnection) async -> (trips: [Double], report: ICEReport?) {
        let tally = Tally()
        var report: ICEReport?
        var farewellsLeft = farewells
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await datagram in connection.received {
                    let words = String(decoding: datagram, as: UTF8.self).split(separator: " ")
                    switch (words.count > 1 ? words[1] : "", words.count > 2 ? Int(words[2]) : nil) {
                    case ("ping", let number?): connection.send([Array("floe pong \(number)".utf8)])
                    case ("pong", let number?):
                        let now = MonotonicClock.now()
                        tally.state.withLock { state in
                            guard let sent = state.sentAt.removeValue(forKey: number) else { return }
                            state.trips.append(Double((now - sent).nanoseconds / 1000) / 1000)
                        }
                    case ("bye", _): tally.state.withLock { $0.isPeerDone = true }
                    default: continue
                    }
                }
            }
            let end = MonotonicClock.now() + patience
            var number = 0
            while MonotonicClock.now() < end {
                let (trips, isPeerDone) = tally.state.withLock { ($0.trips.count, $0.isPeerDone) }
                if trips >= count {
                    connection.send([Array("floe bye".utf8)])
                    if let now = await connection.report(), now.isRelayed != nil, now.verdict.outcome != .interrupted {
                        report = now
                    }
                    if isPeerDone { farewellsLeft -= 1 }
                    if farewellsLeft == 0 { break }
                } else {
                    number += 1
                    let sent = number
                    tally.state.withLock { $0.sentAt[sent] = MonotonicClock.now() }
                    connection.send([Array("floe ping \(number)".utf8)])
                }
                guard (try? await Task.sleep(for: .milliseconds(50))) != nil else { break }
            }
            group.cancelAll()
        }
        return (tally.state.withLock { $0.trips }, report)
    }
}
