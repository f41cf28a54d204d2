import CommandLineSupport
import Diagnostics
import EventLoop
import NetTypes

extension ServeCommand {
    /// Starts the server, prints where it is to be found, and waits until it is told to stop.
    ///
    /// - Throws: a sentence, if it cannot start.
    static func run(_ options: ServeOptions) throws(UsageError) -> Int32 {
        do throws(SystemError) {
            // Before the first thread: threads inherit which signals are blocked.
            let signals = try SignalWatcher()
            let poller = try Poller()
            try poller.add(signals.descriptor, token: 0, interest: .read)
            let format = options.logFormat ?? (Console.isErrorTerminal ? .human : .json)
            let sink = StandardErrorSink(format: format, addresses: options.logAddresses)
            let server: FloeServer
            do throws(UsageError) {
                server = try FloeServer(options, logger: Logger(level: options.logLevel, sink: sink))
            } catch {
                Console.printError("floe: \(error)")
                return 2
            }
            Console.print(server.report)
            wait(for: signals, poller, server)
            return 0
        } catch {
            throw UsageError("The system refuses what a server needs: \(error).")
        }
    }

    private static func wait(for signals: borrowing SignalWatcher, _ poller: borrowing Poller, _ server: FloeServer) {
        var events = PollEvents(capacity: 4)
        while true {
            try? poller.wait(until: nil, into: &events)
            while let signal = signals.next() {
                switch signal {
                case .hangUp: server.reloadCertificate()
                case .interrupt: return server.stop()
                case .terminate: return server.stop()
                }
            }
        }
    }
}
