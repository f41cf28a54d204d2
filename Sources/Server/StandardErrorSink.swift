import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Synchronization

/// Writes log lines to standard error, each with one system call, so that lines of several threads do not mix.
///
/// Lines for which a pipe or terminal has no room are lost and counted: a reader that has stopped reading must not stop
/// the server too.
final class StandardErrorSink: LogSink {
    private let format: LineFormat
    private let addresses: AddressPolicy
    private let descriptor: Int32
    private let lost = Atomic<UInt64>(0)

    init(format: LineFormat, addresses: AddressPolicy, descriptor: Int32 = STDERR_FILENO) {
        self.format = format
        self.addresses = addresses
        self.descriptor = descriptor
    }

    func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>) {
        guard Console.canWrite(to: descriptor) else {
            lost.add(1, ordering: .relaxed)
            return
        }
        let time = CivilTime(unixSeconds: WallClock.unixSeconds()).rfc3339
        var lines = format.line(time: time, level, message, metadata, addresses: addresses) + "\n"
        let count = lost.exchange(0, ordering: .relaxed)
        if count > 0 {
            let note: KeyValuePairs<String, LogValue> = ["log.lost": .number(Int(clamping: count))]
            let text = "Log lines were lost: nobody read them."
            lines = format.line(time: time, .warning, text, note, addresses: addresses) + "\n" + lines
        }
        Console.write(lines, to: descriptor)
    }
}
