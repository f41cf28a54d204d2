import Diagnostics
import EventLoop
import Glibc
import NetTypes

/// Writes log lines to standard error, each with one system call, so that lines of several threads do not mix.
struct StandardErrorSink: LogSink {
    let format: LineFormat
    let addresses: AddressPolicy

    func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>) {
        let time = CivilTime(unixSeconds: WallClock.unixSeconds()).rfc3339
        let line = format.line(time: time, level, message, metadata, addresses: addresses)
        Console.write(line + "\n", to: STDERR_FILENO)
    }
}
