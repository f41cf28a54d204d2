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
        "Find out what stands between this machine and others: candidates, servers, NAT, and a run with a second person.",
        [
            PeerOptions.meeting,
            PeerOptions.path,
            ("Output", [OptionSpecification("json", help: "print the findings as JSON")]),
            InstrumentOptions.certificate,
        ],
        operand: ("[CODE]", "a room's code for --server; the other person gives the same"),
        notes: """
            Without --server, --offer and --answer only this machine is looked at, with the servers that --stun and --turn
            name. With one of them the other person runs 'floe doctor' too, and both see whether and how they connect.

            Exit code 0 if all is well, 1 if there is no connection or a server gave nothing.
            """
    )

    /// What was found, in words and numbers.
    struct Findings: Encodable, Sendable {
        var outcome = "examined"
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
        let isAlone = ["server", "offer", "answer"].allSatisfy { !arguments.has($0) }
        let plan = try PeerPlan(arguments, isAlone: isAlone)
        let isJSON = arguments.has("json")
        return try PeerOptions.wait {
            let loop = try ICELoop(plan.loopOptions)
            defer { loop.stop() }
            let findings = isAlone ? try await alone(plan, loop) : try await together(plan, loop)
            Console.print(isJSON ? json(findings) : text(findings))
            let isGood = isAlone ? findings.serverFailures.isEmpty : ["direct", "relayed"].contains(findings.outcome)
            return isGood ? 0 : 1
        }
    }

    // MARK: One machine

    private static func alone(_ plan: PeerPlan, _ loop: ICELoop) async throws -> Findings {
        let connection = try loop.connection(plan.configuration)
        connection.gather()
        for await update in connection.candidates {
            if case .done = update { break }
        }
        var findings = Findings()
        if let report = await connection.report() { fill(&findings, report) }
        findings.outcome = "examined"
        findings.summary = sentence(findings)
        await connection.close()
        return findings
    }

    private static func sentence(_ findings: Findings) -> String {
        if findings.candidates.isEmpty { return "This machine has no address that a peer could use." }
        let has = { (type: String) in findings.candidates.contains { $0.contains(" typ \(type)") } }
        switch (has("srflx"), has("relay")) {
        case (_, true): return "A TURN server relays for this machine: every peer can be reached."
        case (true, false): return "STUN servers answer, nobody relays: peers behind strict NATs cannot be reached."
        case (false, false): return "Only addresses of this machine are known: give servers with --stun and --turn."
        }
    }

    // MARK: Two machines

    private static func together(_ plan: PeerPlan, _ loop: ICELoop) async throws -> Findings {
        let meeting = try await plan.meet(loop)
        let start = MonotonicClock.now()
        var findings = Findings()
        let isConnected = await PeerOptions.connected(meeting)
        if isConnected {
            findings.connectMilliseconds = milliseconds(MonotonicClock.now() - start)
            findings.roundTripMilliseconds = await PingPong.run(meeting.connection)
        }
        if let report = await meeting.connection.report() {
            fill(&findings, report)
            findings.outcome = "\(report.verdict.outcome)"
            findings.summary = report.verdict.summary
        }
        await meeting.end()
        return findings
    }

    private static func fill(_ findings: inout Findings, _ report: ICEReport) {
        findings.findings = report.verdict.findings.map(\.cause.sentence)
        findings.isRelayed = report.path?.isRelayed
        findings.local = report.selected?.local?.description
        findings.remote = report.path?.destination.description
        findings.checksSent = report.statistics.requestsSent
        findings.candidates = report.candidates.map(\.text)
        findings.mappings = report.mappings.map { "\($0)" }
        findings.serverFailures = report.serverFailures.map { "\($0.server) over \($0.carrier): \($0.failure)" }
    }

    private static func milliseconds(_ span: TimeSpan) -> Double { Double(span.nanoseconds / 1000) / 1000 }

    // MARK: Output

    private static func json(_ findings: Findings) -> String {
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

    private struct State {
        var sentAt: [Int: Instant] = [:]
        var trips: [Double] = []
        var isPeerDone = false
    }

    private final class Tally: Sendable {
        let state = Mutex(State())
    }

    /// The times there and back, in milliseconds.
    static func run(_ connection: ICEConnection) async -> [Double] {
        let tally = Tally()
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
                    if isPeerDone { break }
                } else {
                    number += 1
                    let sent = number
                    tally.state.withLock { $0.sentAt[sent] = MonotonicClock.now() }
                    connection.send([Array("floe ping \(number)".utf8)])
                }
                try? await Task.sleep(for: .milliseconds(50))
            }
            // Once more, in case the peer has not heard it.
            connection.send([Array("floe bye".utf8), Array("floe bye".utf8)])
            group.cancelAll()
        }
        return tally.state.withLock { $0.trips }
    }
}
