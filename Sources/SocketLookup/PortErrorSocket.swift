import CLinux
import EventLoop
import NetTypes

/// ICMP errors about datagrams that were sent from the relay ports of one thread, as a raw socket gets copies of them.
public struct PortErrorSocket: ~Copyable, Sendable {
    /// What was read.
    public enum Arrival: Sendable, Equatable {
        /// An error about a datagram of ours.
        case error(QuotedDatagram)
        /// Something else, or something broken.
        case ignored
        /// Nothing waits.
        case nothing
    }

    private let socket: Descriptor
    private let family: AddressFamily
    private var buffer: [UInt8]

    /// Opens a socket with a filter that is loaded.
    init(_ family: AddressFamily, filter: consuming Descriptor) throws(SystemError) {
        let what = "open a raw socket for ICMP errors"
        let socket = try Descriptor(floe_icmp_create(Int32(family.rawValue)), what)
        let result = floe_bpf_attach_filter(filter.number, socket.number)
        guard result >= 0 else { throw SystemError("filter ICMP errors (BPF)", number: -result) }
        self.socket = socket
        self.family = family
        // No sender of ICMP errors quotes more than fits into 576 or 1280 bytes (RFC 1812 §4.3.2.3, RFC 4443 §3.1).
        buffer = [UInt8](repeating: 0, count: 2048)
    }

    /// The file descriptor, for a poller; valid while the socket lives.
    public var descriptor: Int32 { socket.number }

    /// Reads the oldest message.
    public mutating func next() -> Arrival {
        let count = buffer.count
        // The kernel writes at most `count` bytes, during the call.
        let result = unsafe buffer.withUnsafeMutableBufferPointer { bytes in
            unsafe floe_stream_receive(socket.number, bytes.baseAddress, count)
        }
        guard result >= 0 else { return .nothing }
        let quoted = QuotedDatagram(icmp: buffer.span.extracting(0..<Int(result)), family)
        return quoted.map { .error($0) } ?? .ignored
    }
}
