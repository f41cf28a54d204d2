import CommandLineSupport
import Connectivity
import Crypto
import EventLoop
import Glibc
import ICE
import ICETransport
import NetTypes
import PeerTools
import Pipe
import STUN
import TURN

/// The command `pipe`: standard input here is standard output there, over an ICE connection, and the other way.
enum PipeCommand {
    static let specification = CommandSpecification(
        "pipe",
        "Send standard input to another machine's standard output, and back, through whatever lies between.",
        [
            (
                "How to meet",
                [OptionSpecification("server", "URL", help: "over a server's signaling, such as https://HOST:8443")]
                    + PeerOptions.codes
            ),
            (
                "What to send",
                [
                    OptionSpecification(
                        "receive",
                        help:
                            "send nothing: standard input is not read; so it is at a terminal if the output is led elsewhere"
                    )
                ]
            ),
            PeerOptions.path,
            InstrumentOptions.certificate,
        ],
        operand: ("[CODE]", "what the other end has printed; it may begin with the server's URL and #"),
        notes: """
            One end runs 'floe pipe --server https://HOST:8443', which prints what the other end is to run. Without a server,
            one end runs 'floe pipe --offer', the other 'floe pipe --answer CODE', and the answer's code is pasted to the
            first. What is sent is encrypted from end to end with keys that only the two ends know.

            Exit code 0 if everything has arrived on both sides and was written there; 1 if there was no connection, if it was
            lost, or if what reads our standard output ended before its time: then the other end ends with 1 too. A signal
            tells the other end so, and ends with 128 and its number.
            """
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let hasWay = arguments.has("offer") || arguments.text("answer") != nil
        let code = arguments.operand ?? (hasWay || arguments.text("server") == nil ? nil : "new")
        let plan = try PeerPlan(arguments, code: code, command: "floe pipe")
        guard !plan.isAlone else {
            throw UsageError("Say how to meet the other end: with a CODE, --server, --offer or --answer.")
        }
        // With the output led elsewhere, a terminal's owner wants to receive, and will not think of typing an end.
        let isReceiver = !arguments.has("receive") && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 0
        let receives = arguments.has("receive") || isReceiver
        return try PeerOptions.wait {
            let loop = try ICELoop(plan.loopOptions)
            defer { loop.stop() }
            let meeting = try await plan.meet(loop)
            if isReceiver { Console.printError("(nothing is sent from here: standard input is a terminal)") }
            let code = await pump(meeting, plan.secret, input: receives ? nil : STDIN_FILENO)
            await meeting.end()
            return code
        }
    }

    /// Waits for the connection, then pumps.
    private static func pump(_ meeting: Meeting, _ secret: String, input: Int32?) async -> Int32 {
        switch await meeting.path() {
        case .connected: break
        case .cancelled: return 1
        case .failed(let words):
            let verdict = await meeting.connection.report()?.verdict.summary
            let why = [words, verdict].compactMap(\.self).joined(separator: " ")
            Console.printError("floe pipe: there is no connection. \(why)")
            return 1
        }
        Console.printError(await PeerOptions.pathLine(meeting))
        let keys = PipeKeys(
            secret: secret,
            offerer: meeting.offererPassword,
            answerer: meeting.answererPassword,
            isOfferer: meeting.isOfferer
        )
        guard let stop = try? PipeStop() else { return noDescriptor() }
        return await withTaskCancellationHandler {
            await pump(meeting.connection, keys, input, stop)
        } onCancel: {
            stop.stop()
        }
    }

    private static func noDescriptor() -> Int32 {
        Console.printError("floe pipe: the system has no descriptor or thread left.")
        return 1
    }

    private static func pump(
        _ connection: ICEConnection,
        _ keys: PipeKeys,
        _ input: Int32?,
        _ stop: PipeStop
    ) async -> Int32 {
        await withCheckedContinuation { continuation in
            // The pump waits in system calls: not for a thread of the tasks.
            let thread = try? LoopThread(name: "floe-pipe") {
                var pump = PipePump(connection, keys, input: input, output: STDOUT_FILENO, stop: stop)
                let outcome = try? pump.run { progress in
                    // A terminal that its user has halted holds up nothing.
                    guard Console.isErrorTerminal, Console.canWrite(to: STDERR_FILENO) else { return }
                    let rest = progress.isDelivered && progress.sentBytes > 0 ? ", all of it is there" : ""
                    Console.write("\r" + words(progress) + rest + "\u{1B}[K", to: STDERR_FILENO)
                }
                guard let outcome else { return continuation.resume(returning: noDescriptor()) }
                Console.printError(Console.isErrorTerminal ? "\r" + words(outcome) + "\u{1B}[K" : words(outcome))
                if let failure = outcome.failure { Console.printError("floe pipe: \(failure).") }
                continuation.resume(returning: outcome.failure == nil ? 0 : 1)
            }
            if thread == nil { continuation.resume(returning: noDescriptor()) }
        }
    }

    /// `sent 64.0 MiB, received 0 B in 1.2 s (53.1 MiB/s), 12 datagrams sent again, round trip 0.31 ms`.
    private static func words(_ outcome: PipePump.Outcome) -> String {
        let milliseconds = max(1, outcome.elapsed.milliseconds)
        let rate = (outcome.sentBytes + outcome.receivedBytes) * 1000 / milliseconds
        let trip = outcome.roundTrip.map { ", round trip \(InstrumentOptions.milliseconds($0))" } ?? ""
        return "sent \(size(outcome.sentBytes)), received \(size(outcome.receivedBytes)) in "
            + "\(tenths(milliseconds, 1000)) s (\(size(rate))/s), \(outcome.resentCount) datagrams sent again\(trip)"
    }

    private static func size(_ bytes: UInt64) -> String {
        for (unit, name) in [(UInt64(1) << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] where bytes >= unit {
            return "\(tenths(bytes, unit)) \(name)"
        }
        return "\(bytes) B"
    }

    private static func tenths(_ number: UInt64, _ unit: UInt64) -> String {
        let tenths = number * 10 / unit
        return "\(tenths / 10).\(tenths % 10)"
    }
}
