import EventLoop
import Glibc
public import NetTypes

/// An operation on a socket that the operating system refused.
public struct SocketError: Error, Equatable, Sendable {
    /// What was tried.
    public enum Operation: Equatable, Sendable {
        /// Receiving datagrams or connections at an address.
        case listen(TransportProtocol)
        /// Connecting to an address.
        case connect
        /// Setting what is named, as it follows "set": `the receive buffer`.
        case set(String)
    }

    /// What was tried.
    public let operation: Operation
    /// Where, if that matters.
    public let address: SocketAddress?
    /// The `errno` of the refusal.
    public let number: Int32

    /// Makes an error from its parts.
    public init(_ operation: Operation, at address: SocketAddress?, number: Int32) {
        self.operation = operation
        self.address = address
        self.number = number
    }

    /// Whether somebody else has the address, so that another port may do.
    public var isAddressInUse: Bool { number == EADDRINUSE }

    /// Whether this machine does not have the address.
    public var isAddressElsewhere: Bool { number == EADDRNOTAVAIL }

    /// Whether nobody has answered in time.
    public var isTimeout: Bool { number == ETIMEDOUT }

    /// Whether the process or the system has no descriptor left.
    public var isOutOfDescriptors: Bool { number == EMFILE || number == ENFILE }

    /// Whether the process lacks the right to use the address.
    public var isForbidden: Bool { number == EACCES }

    /// What the operator can do about it, as a sentence, if that is known.
    public var advice: String? {
        switch (operation, number) {
        case (.listen, EADDRINUSE): "Another program uses this port: stop it, or choose another port."
        case (.listen, EACCES):
            "Ports below 1024 need the right to use them: choose a higher one, or grant CAP_NET_BIND_SERVICE."
        case (.listen, EADDRNOTAVAIL): "No interface of this host has this address: choose one that it has."
        case (_, EMFILE), (_, ENFILE): "The process has no file descriptor left: raise its limit (ulimit -n)."
        case (_, EAFNOSUPPORT): "This host has no such family of addresses: is IPv6 switched off?"
        default: nil
        }
    }
}

extension SocketError: CustomStringConvertible {
    /// `cannot listen on UDP 0.0.0.0:3478: address already in use`.
    public var description: String {
        let place = address.map { " \($0)" } ?? ""
        let what =
            switch operation {
            case .listen(let transport): "listen on \(transport.description.uppercased())\(place)"
            case .connect: "connect to\(place)"
            case .set(let name): "set \(name) of a socket\(address == nil ? "" : " at\(place)")"
            }
        return "cannot \(what): \(SystemError.text(for: number))"
    }
}

/// Why a datagram was not sent or not received; a counter each, and never the end of anything.
public enum DatagramError: String, DropReason {
    /// No route to the host, or its router says that it is down.
    case hostUnreachable
    /// No route to the network.
    case networkUnreachable
    /// A packet filter of this host forbids it.
    case notPermitted
    /// The port of an earlier datagram's receiver is closed.
    case connectionRefused
    /// The interface's queue or the kernel's memory is full.
    case noBufferSpace
    /// The socket's buffer is full.
    case wouldBlock
    /// Longer than the path takes without fragments.
    case messageTooLong
    /// The address to send from is not (or no longer) one of this host.
    case sourceUnavailable
    /// An IPv6 receiver from an IPv4 socket, or the other way around.
    case wrongFamily
    /// Received, but the kernel has merged more into one message than there is room for.
    case mergedBeyondRoom
    /// Anything else.
    case other

    /// Whether a socket may tell it of a datagram that was sent before: what ICMP brings.
    var mayBeEarlier: Bool {
        switch self {
        case .connectionRefused, .hostUnreachable, .networkUnreachable, .messageTooLong, .notPermitted, .other: true
        case .noBufferSpace, .wouldBlock, .sourceUnavailable, .wrongFamily, .mergedBeyondRoom: false
        }
    }

    /// The kind that an `errno` belongs to.
    public init(errno number: Int32) {
        self =
            switch number {
            case EHOSTUNREACH, EHOSTDOWN: .hostUnreachable
            case ENETUNREACH, ENETDOWN: .networkUnreachable
            case EPERM, EACCES: .notPermitted
            case ECONNREFUSED: .connectionRefused
            case ENOBUFS, ENOMEM: .noBufferSpace
            case EAGAIN: .wouldBlock
            case EMSGSIZE: .messageTooLong
            case EADDRNOTAVAIL, EINVAL: .sourceUnavailable
            case EAFNOSUPPORT: .wrongFamily
            default: .other
            }
    }
}
