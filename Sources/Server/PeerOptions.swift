import CommandLineSupport
import EventLoop
import ICE
import ICETransport
import NetTypes
import PeerTools

/// What the commands that meet a peer have in common.
enum PeerOptions {
    static let codes = [
        OptionSpecification("offer", help: "by codes: print one, and take the other end's answer"),
        OptionSpecification("answer", "CODE", help: "by codes: answer this one; @FILE reads it from a file"),
        OptionSpecification("code-to", "FILE", help: "write our code to a file too"),
        OptionSpecification("code-from", "FILE", help: "take the answer from a file, as soon as it is there"),
    ]

    static let path: (heading: String, options: [OptionSpecification]) = (
        "How to connect",
        [
            OptionSpecification("stun", "URI", repeats: true, help: "a STUN server, stun:HOST"),
            OptionSpecification("turn", "URI", repeats: true, help: "a TURN server, turn:HOST or turns:HOST"),
            OptionSpecification("user", "NAME", help: "the user name for the TURN servers"),
            OptionSpecification("password", "WORD", help: "the password for the TURN servers"),
            OptionSpecification("relay", help: "over TURN servers only"),
            OptionSpecification("tcp", help: "with TCP candidates too"),
            OptionSpecification("conceal", help: "show names of multicast DNS in place of this machine's addresses"),
            OptionSpecification("no-mapping", help: "ask no gateway to open a port"),
            OptionSpecification("loopback", help: "with loopback addresses too, for two ends on one machine"),
        ]
    )

    /// How long a command that is interrupted may take to tell its peer and its servers.
    private static let endingTime = TimeSpan.seconds(3)

    /// Runs something asynchronous to its end on the calling thread's behalf; errors become sentences and code 1.
    ///
    /// A signal cancels its task, so that the peer and the servers are told, and becomes 128 and its number; a second one
    /// ends without that. One that was ignored at the start, as by `nohup`, stays so.
    static func wait(_ body: @escaping @Sendable () async throws -> Int32) throws(UsageError) -> Int32 {
        do throws(SystemError) {
            let signals = try SignalWatcher(leavesIgnored: true)
            let ended = try Mailbox<Int32>(limit: 1)
            let task = Task {
                do {
                    _ = ended.push(try await body())
                } catch {
                    if !Task.isCancelled { Console.printError("floe: \(sentence(error))") }
                    _ = ended.push(1)
                }
            }
            let poller = try Poller()
            try poller.add(ended.descriptor, token: 0, interest: .read)
            try poller.add(signals.descriptor, token: 1, interest: .read)
            var events = PollEvents(capacity: 2)
            var codes: [Int32] = []
            var interruption: (code: Int32, end: Instant)?
            while codes.isEmpty {
                try poller.wait(until: interruption?.end, into: &events)
                ended.receive(into: &codes)
                while let signal = signals.next() {
                    if let interruption { return interruption.code }
                    interruption = (128 + signal.rawValue, MonotonicClock.now() + endingTime)
                    task.cancel()
                }
                if let interruption, MonotonicClock.now() >= interruption.end { return interruption.code }
            }
            return interruption?.code ?? codes[0]
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// An error as a sentence, with its full stop.
    static func sentence(_ error: any Error) -> String {
        let words = "\(error)"
        return words.hasSuffix(".") ? words : words + "."
    }

    /// `connected directly: 192.0.2.1:5000 to 198.51.100.2:6000`.
    static func pathLine(_ meeting: Meeting) async -> String {
        guard let report = await meeting.connection.report(), let isRelayed = report.isRelayed else {
            return "connected"
        }
        let local = report.selected?.local.map { "\($0) to " } ?? ""
        let remote = report.selected?.remote?.description ?? "a concealed address"
        return "connected \(isRelayed ? "over a relay" : "directly"): \(local)\(remote)"
    }
}
