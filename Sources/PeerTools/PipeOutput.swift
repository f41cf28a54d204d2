import EventLoop
import Glibc

/// A descriptor that is written without waiting, though it may be shared with others that want it to block.
///
/// Its flags stay as they are: a terminal, or a pipe, has the same ones for all who hold it. So a terminal or a pipe is opened
/// anew, as one that does not wait. Where that is not permitted, each write is asked for first, and is no longer than what
/// then has room for certain.
struct PipeOutput: ~Copyable {
    enum Progress: Equatable {
        case wrote(Int)
        /// There is no room: it is to be tried again when the descriptor can be written.
        case later
        case failed(String)
    }

    /// What is written to, and what is to be watched.
    let descriptor: Int32
    private let own: Descriptor?
    private let isSocket: Bool
    private let longest: Int

    /// Opening the multiplexer of pseudoterminals, which the master's side of one is, makes another one.
    private static let terminalMultiplexer: dev_t = 0x502

    init(_ given: Int32, opensAnew: Bool = true) {
        var status = stat()
        // The call writes into a variable that lives through it.
        let kind = unsafe fstat(given, &status) == 0 ? status.st_mode & S_IFMT : 0
        let isTerminal = kind == S_IFCHR && isatty(given) == 1
        isSocket = kind == S_IFSOCK
        var again: Int32 = -1
        if opensAnew, kind == S_IFIFO || isTerminal && status.st_rdev != Self.terminalMultiplexer {
            // The path lives through the call.
            again = unsafe open("/proc/self/fd/\(given)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        }
        if again >= 0 {
            own = Descriptor(owning: again)
            (descriptor, longest) = (again, 65_536)
        } else {
            own = nil
            descriptor = given
            // A pipe with any room takes a page whole; a terminal may have room for one byte.
            longest = isTerminal ? 1 : kind == S_IFREG || isSocket ? 262_144 : 4096
        }
    }

    /// Writes the first bytes, as far as there is room.
    func write(_ bytes: ArraySlice<UInt8>) -> Progress {
        guard own != nil || isReady else { return .later }
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

    /// Whether a write would not wait: there is room, or an end or an error, which the write itself then tells.
    private var isReady: Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while true {
            // One entry, in a variable that lives through the call.
            let result = unsafe poll(&entry, 1, 0)
            if result < 0, errno == EINTR { continue }
            return result > 0
        }
    }
}
