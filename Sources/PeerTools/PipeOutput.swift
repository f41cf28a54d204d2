import EventLoop
import Glibc

/// A descriptor that is written without waiting, though it may be shared with others that want it to block.
///
/// Its flags stay as they are: a terminal, or a pipe, has the same ones for all who hold it. So each write is asked for
/// first, and is no longer than a pipe with any room takes whole (pipe(7), `PIPE_BUF`).
struct PipeOutput {
    enum Progress: Equatable {
        case wrote(Int)
        /// There is no room: it is to be tried again when the descriptor can be written.
        case later
        case failed(String)
    }

    let descriptor: Int32
    private let isSocket: Bool
    private let longest: Int

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        var status = stat()
        // The call writes into a variable that lives through it.
        let kind = unsafe fstat(descriptor, &status) == 0 ? status.st_mode & S_IFMT : 0
        isSocket = kind == S_IFSOCK
        longest = kind == S_IFREG || kind == S_IFSOCK ? 262_144 : 4096
    }

    /// Writes the first bytes, as far as there is room.
    func write(_ bytes: ArraySlice<UInt8>) -> Progress {
        guard isReady else { return .later }
        let part = bytes.prefix(longest)
        while true {
            // The slice's storage lives through the call; the count is its own.
            let count = unsafe part.withUnsafeBytes { bytes in
                isSocket
                    ? unsafe send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT))
                    : unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
            if count > 0 { return .wrote(count) }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .later
            case EPIPE: return .failed("whoever reads the output has ended before everything was written")
            default: return .failed("the output cannot be written: \(SystemError.text(for: errno))")
            }
        }
    }

    /// Whether a write would not wait, or would fail.
    private var isReady: Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // One entry, in a variable that lives through the call.
        return unsafe poll(&entry, 1, 0) != 0
    }
}
