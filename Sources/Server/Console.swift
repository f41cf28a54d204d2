import Glibc

/// The two streams of a command-line program.
enum Console {
    /// Writes text as it is to standard output.
    static func print(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Writes one line to standard error.
    static func printError(_ line: String) { write(line + "\n", to: STDERR_FILENO) }

    /// Whether standard error is a terminal.
    static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Whether a line written now would not have to wait for a reader that has stopped reading.
    static func canWrite(to descriptor: Int32) -> Bool {
        var question = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // One structure, which lives through the call. What cannot be asked about can be written to.
        return unsafe poll(&question, 1, 0) != 0
    }

    /// Writes all of the text; what a closed or broken stream does not take is lost, which is no reason to fail.
    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            // The array's storage lives through the call; the count is its own.
            let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return }
            bytes = bytes.dropFirst(written)
        }
    }
}
