import CommandLineSupport
import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Relay

extension ServeCommand {
    /// Starts the server, prints where it is to be found, and waits until it is told to stop.
    ///
    /// - Throws: a sentence, if it cannot start.
    static func run(_ words: [String]) throws(UsageError) -> Int32 {
        let load = { @Sendable () throws(UsageError) -> ServeOptions in try OptionsFile.options(words) }
        let options = try load()
        do throws(SystemError) {
            // Before the first thread: threads inherit which signals are blocked. Also those that were ignored: SIGHUP asks for a
            // reload under `nohup` too, and SIGINT for a stop.
            let signals = try SignalWatcher()
            DescriptorLimit.raise()
            let poller = try Poller()
            try poller.add(signals.descriptor, token: 0, interest: .read)
            let format = options.logFormat ?? (Console.isErrorTerminal ? .human : .json)
            let sink = StandardErrorSink(format: format, addresses: options.logAddresses)
            let server: FloeServer
            do throws(UsageError) {
                server = try FloeServer(options, logger: Logger(level: options.logLevel, sink: sink), load: load)
            } catch {
                Console.printError("floe: \(error)")
                return 2
            }
            Console.print(server.report)
            wait(for: signals, poller, server)
            return try end(server, signals, poller)
        } catch {
            throw UsageError("The system refuses what a server needs: \(error).")
        }
    }

    /// Obeys signals until one of them, or the end of a drain, says that the server has to end.
    private static func wait(for signals: borrowing SignalWatcher, _ poller: borrowing Poller, _ server: FloeServer) {
        var events = PollEvents(capacity: 4)
        var drain = Drain(time: server.options.drainTime)
        while true {
            try? poller.wait(until: drain.nextLook(after: MonotonicClock.now()), into: &events)
            let now = MonotonicClock.now()
            while let signal = signals.next() {
                switch drain.obey(signal, at: now) {
                case .none: break
                case .reload: server.reload()
                case .begin: server.drain(until: drain.deadline, at: now)
                case .end: return
                }
            }
            if let end = drain.end(isEmpty: server.relay.isDrained, at: now) { return server.report(end) }
        }
    }

    /// Stops the server; a second signal, or a part of it that does not end, ends the process as it is.
    private static func end(
        _ server: FloeServer,
        _ signals: borrowing SignalWatcher,
        _ poller: borrowing Poller
    ) throws(SystemError) -> Int32 {
        let outcome = try Ending.run(poller) {
            while let signal = signals.next() {
                if signal == .terminate || signal == .interrupt { return true }
            }
            return false
        } stop: {
            server.stop()
        }
        let words: String
        switch outcome {
        case .complete: return 0
        case .interrupted: words = "Ended at once, as asked twice."
        case .late: words = "Ended with connections open: they took too long to close."
        }
        // Threads still run, so nothing is tidied up; and a reader of the log that has stopped reading, which may be
        // why they do, must not keep this one too.
        alarm(1)
        Console.printError("floe: \(words)")
        _exit(1)
    }
}
