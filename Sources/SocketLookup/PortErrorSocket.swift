import CLinux
import EventLoop
import NetTypes

/// ICMP errors about datagrams that were sent from the relay ports of one thread, as a raw socket gets copies of them.
public struct PortErrorSocket: ~Copyable, Sendable {
    /// What was read.
    public enum Arrival: Sendable, Equatable {
        /// An error about a datagram of ours.
        case error(QuotedDatagram)
        /// Something else.
        case ignored
        /// One whose checksum is wrong: broken on its way, or made up badly.
        case wrongChecksum
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

    /// How many messages the kernel has dropped because the socket's buffer was full; a system call.
    public var droppedMessages: UInt64 { UInt64(max(0, floe_dropped_datagrams(socket.number))) }

    /// Reads the oldest message.
    public mutating func next() -> Arrival {
        let count = buffer.count
        var arrival = floe_datagram()
        // The kernel writes at most `count` bytes and the description, during the call.
        let result = unsafe buffer.withUnsafeMutableBufferPointer { bytes in
            unsafe floe_icmp_receive(socket.number, bytes.baseAddress, count, &arrival)
        }
        guard result >= 0 else { return .nothing }
        guard arrival.is_truncated == 0 else { return .ignored }
        let message = buffer.span.extracting(0..<Int(result))
        let (source, local) = (arrival.source, arrival.local)
        guard
            QuotedDatagram.hasRightChecksum(
                icmp: message,
                family,
                from: IPAddress(ipv6: source.high, source.low),
                to: IPAddress(ipv6: local.high, local.low)
            )
        else { return .wrongChecksum }
        return QuotedDatagram(icmp: message, family).map { .error($0) } ?? .ignored
    }
}
