public import Crypto
import EventLoop

/// What reading from a stream brought.
public enum StreamReadResult: Sendable, Equatable {
    /// So many bytes were appended.
    case bytes(Int)
    /// Nothing until the poller says so.
    case wouldBlock
    /// The peer has ended its direction, and all that it sent was read.
    case closed
    /// The connection is over.
    case failed(StreamFailure)
}

/// What became of bytes that were to be written to a stream.
public enum StreamWriteResult: Sendable, Equatable {
    /// The kernel has everything that was ever written.
    case sent
    /// The bytes are taken; some wait, until the poller says so.
    case queued
    /// The bytes are not taken, not even in part: too many wait already.
    case full
    /// The connection is over.
    case failed(StreamFailure)
}

/// Why a stream is over before its time.
public enum StreamFailure: Error, Sendable, Equatable {
    /// The system's reason, an `errno`: reset, timed out, refused.
    case system(number: Int32)
    /// TLS could not go on.
    case tls(TLSFailure)
    /// The peer's TCP ended without `close_notify`: what was read may not be all.
    case truncated
}

extension StreamFailure: CustomStringConvertible {
    /// What went wrong, in words for a log.
    public var description: String {
        switch self {
        case .system(let number): SystemError.text(for: number)
        case .tls(let failure): failure.description
        case .truncated: "the peer's connection ended without TLS's close_notify"
        }
    }
}
