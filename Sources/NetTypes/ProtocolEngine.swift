/// The shape of every protocol engine: bytes and time in, bytes and events out, nothing else.
///
/// The rule for drivers: one mutation (a datagram, a timeout, one application call), then drain `pollTransmit` and
/// `pollEvent` until they return `nil`, then sleep until `nextTimeout`.
public protocol ProtocolEngine: ~Copyable {
    /// What the engine tells its owner.
    associatedtype Event: Sendable
    /// Why the engine drops bytes.
    associatedtype Drop: DropReason

    /// Takes a datagram that came from `source`.
    mutating func receive(_ datagram: Span<UInt8>, from source: SocketAddress, at now: Instant) -> Disposition<Drop>

    /// Does what is due at `now`; to be called when `nextTimeout` has passed, harmless otherwise.
    mutating func handleTimeout(at now: Instant)

    /// Writes the next datagram to send into `datagram`, or returns `nil` if there is none.
    mutating func pollTransmit(at now: Instant, into datagram: inout OutputSpan<UInt8>) -> Transmit?

    /// Takes the oldest event that was not taken yet.
    mutating func pollEvent() -> Event?

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    var nextTimeout: Instant? { get }
}

/// What became of received bytes.
public enum Disposition<Reason: Equatable & Sendable>: Equatable, Sendable {
    /// They were understood; there may be something to transmit and there may be events.
    case accepted
    /// They were dropped; the engine has counted the reason.
    case ignored(Reason)
}

/// Why an engine drops bytes: an enum whose raw values are the names in logs and metrics.
public protocol DropReason: RawRepresentable<String>, CaseIterable, Hashable, Sendable {}

/// Where a datagram that an engine has written is to go.
public struct Transmit: Equatable, Sendable {
    /// The receiver.
    public let destination: SocketAddress
    /// How many bytes were written.
    public let byteCount: Int

    /// Makes a description of a written datagram.
    @inlinable
    public init(to destination: SocketAddress, byteCount: Int) {
        self.destination = destination
        self.byteCount = byteCount
    }
}
