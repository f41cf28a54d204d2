import CLinux
import Diagnostics
public import EventLoop
public import NetTypes

/// How a loop learns of datagrams and sends them.
public enum DatagramBackEnd: String, Sendable, CaseIterable {
    /// io_uring where the system lets us, else epoll.
    case automatic = "auto"
    /// epoll, and a system call for each socket that is ready or has something to send; works everywhere.
    case epoll
    /// io_uring: one system call receives from many sockets, one sends for many; kernel 6.1 or later.
    case ioUring = "io_uring"
    /// epoll, with one receiving socket for all relayed ports of an address, by a BPF program (kernel 5.9, privileged).
    case socketLookup = "sk_lookup"
}

/// Receiving with io_uring: sockets are added once, then `wait` brings what came to any of them.
///
/// Each `wait` is followed by `nextEvent` until it returns `nil`; a `datagrams` event is answered with `receive` of its
/// token, or the event comes again. All calls from the first `wait` on must come from one thread.
extension DatagramReceiveBatch {
    /// Something that has happened to what the token was given for.
    public enum RingEvent: Sendable, Equatable {
        /// Datagrams wait to be taken with `receive` or `discard`.
        case datagrams(UInt64)
        /// Nothing more comes from the socket before it is added again; with the reason if it is an error.
        case stopped(UInt64, DatagramError?)
        /// The descriptor is ready; `isLast` if that is not told again before it is watched again.
        case ready(UInt64, isLast: Bool)
    }

    /// How many buffers are used as long as they suffice: few stay in the processor's cache.
    static var suppliedAtFirst: Int { 128 }
    /// How many buffers there are for sockets that were not added.
    static var besideRing: Int { 64 }
    /// How many buffers are in use now.
    var suppliedBuffers: Int { unsafe Int(floe_ring_supplied(ring)) }

    /// Makes an empty batch that is filled by a ring.
    ///
    /// Buffers that were never needed cost address space only. `gathering` is how long datagrams may wait for each other
    /// while more than 30 000 come in a second, so that a wake-up brings more of them. `completions`, a power of two, is how
    /// many things may happen between two waits before the kernel must make a list of the others.
    ///
    /// - Throws: If the kernel is too old, or forbids io_uring to this process, as containers often do.
    public init(
        ringOf buffers: Int,
        payloadCapacity: Int = 2048,
        merging: Bool = false,
        gathering: TimeSpan = .zero,
        completions: Int = 8192
    ) throws(SystemError) {
        precondition(buffers & (buffers - 1) == 0, "a power of two")
        try self.init(buffers, payloadCapacity, merging: merging, completions: completions)
        pace.limit = gathering
    }

    /// Whether a ring fills the batch.
    public var usesRing: Bool { unsafe ring != nil }

    /// Receives all datagrams of a socket from the next wait on; returns `false` if there is no room to ask for that.
    ///
    /// Tokens are below 2^60, and each names one socket or descriptor.
    public func add(_ socket: UDPSocketHandle, token: UInt64) -> Bool {
        precondition(token >> 60 == 0, "a token that the ring can mark")
        return unsafe floe_ring_receive(ring, socket.descriptor, token) >= 0
    }

    /// Tells each time when a socket has an error; it is a `ready` event.
    public func watchErrors(of socket: UDPSocketHandle, token: UInt64) -> Bool {
        precondition(token >> 60 == 0, "a token that the ring can mark")
        return unsafe floe_ring_watch(ring, socket.descriptor, FLOE_POLL_ERROR, 1, token) >= 0
    }

    /// Tells once that there is something to read; it is a `ready` event.
    public func watch(_ descriptor: Int32, token: UInt64) -> Bool {
        precondition(token >> 60 == 0, "a token that the ring can mark")
        return unsafe floe_ring_watch(ring, descriptor, FLOE_POLL_IN, 0, token) >= 0
    }

    /// Ends what was asked for with the token, so that its descriptor can be closed; events of it may still come.
    public func remove(token: UInt64) { unsafe floe_ring_forget(ring, token) }

    /// Waits until something has happened or `deadline` has come.
    ///
    /// It may end early without events, after a signal. Allocates nothing.
    ///
    /// - Throws: Only for a mistake in this process, such as a wait in another thread than before.
    public mutating func wait(until deadline: Instant) throws(SystemError) {
        var timeout: Int64 = -1
        let now = MonotonicClock.now()
        if deadline != .distantFuture { timeout = max(0, Int64(clamping: (deadline - now).nanoseconds)) }
        let gathering = UInt32(clamping: pace.rest(at: now).nanoseconds / 1000)
        let result = unsafe floe_ring_wait(ring, timeout, gathering, UInt32(ArrivalPace.enough))
        guard result >= 0 else { throw SystemError("wait for datagrams", number: -result) }
    }

    /// What has happened next, `nil` if there is nothing before the next wait.
    public mutating func nextEvent() -> RingEvent? {
        if let token = stopped.take() { return .stopped(token, nil) }
        var event = floe_ring_event()
        while unsafe floe_ring_peek(ring, &event) != 0 {
            if event.kind == FLOE_RING_RECEIVED, event.has_buffer != 0, event.result >= 0 {
                return .datagrams(event.token)
            }
            unsafe floe_ring_pop(ring)
            giveBack(event)
            if event.kind == FLOE_RING_READY { return .ready(event.token, isLast: event.has_more == 0) }
            guard event.kind == FLOE_RING_RECEIVED else { continue }
            return .stopped(event.token, event.result < 0 ? refusal(-event.result) : nil)
        }
        return nil
    }

    /// Takes the datagrams that a `datagrams` event has told of, as far as there is room; returns their positions.
    public mutating func receive(
        from socket: UDPSocketHandle,
        token: UInt64,
        separately: Bool = false
    ) -> Range<Int> {
        takeArrivals(from: socket, token: token, separately: separately)
    }

    /// Forgets a datagram that a `datagrams` event has told of, because its socket is gone.
    public mutating func discard() {
        var event = floe_ring_event()
        guard unsafe floe_ring_peek(ring, &event) != 0 else { return }
        unsafe floe_ring_pop(ring)
        giveBack(event)
    }

    private func giveBack(_ event: floe_ring_event) {
        guard event.has_buffer != 0 else { return }
        var datagram = floe_datagram()
        datagram.buffer = event.buffer
        // The C function uses the pointer during the call only.
        unsafe floe_ring_recycle(ring, &datagram, 1)
    }

    /// The error to count, if it is one of the socket's: no buffers, and the end that we asked for, are none.
    private mutating func refusal(_ number: Int32) -> DatagramError? {
        if number == Self.noBuffers {
            unsafe floe_ring_grow(ring)
            return nil
        }
        if number == Self.cancelled { return nil }
        let error = DatagramError(errno: number)
        countError(error)
        return error
    }

    private static var noBuffers: Int32 { 105 }
    private static var cancelled: Int32 { 125 }
}
