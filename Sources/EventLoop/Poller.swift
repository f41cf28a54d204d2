import CLinux
public import NetTypes

/// What a descriptor is watched for.
///
/// Errors and hang-ups are reported without being asked for.
public struct Interest: OptionSet, Sendable, Hashable {
    /// The bits as the kernel knows them.
    public let rawValue: UInt32

    /// Makes a set from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Bytes, datagrams or connections wait, or the stream has ended.
    public static let read = Interest(rawValue: 0x001 | 0x2000)
    /// The kernel would take more.
    public static let write = Interest(rawValue: 0x004)
}

/// What happened to one descriptor.
public struct PollEvent: Sendable, Equatable {
    /// The number that was given with the descriptor.
    public let token: UInt64
    private let readiness: UInt32

    fileprivate init(_ event: floe_poll_event) {
        token = event.token
        readiness = event.readiness
    }

    /// Whether reading would not block; true after an error or hang-up, so that reading finds out about it.
    public var isReadable: Bool { readiness & 0x2019 != 0 }
    /// Whether writing would not block; true after an error, so that writing finds out about it.
    public var isWritable: Bool { readiness & 0x01C != 0 }
    /// Whether the descriptor has a pending error or both directions are closed.
    public var isBroken: Bool { readiness & 0x018 != 0 }
}

/// Room for the events of one wait, made once and used by every turn of a loop.
@safe
public struct PollEvents: ~Copyable {
    // Owned from init to deinit; the first `count` elements are initialized, because the kernel wrote them.
    fileprivate let storage: UnsafeMutableBufferPointer<floe_poll_event>

    /// How many events the last wait brought.
    public fileprivate(set) var count = 0

    /// Makes room for `capacity` events; what does not fit is reported by the next wait.
    public init(capacity: Int = 256) {
        precondition(capacity > 0, "a wait needs room for one event")
        unsafe storage = .allocate(capacity: capacity)
        unsafe storage.initialize(repeating: floe_poll_event(readiness: 0, token: 0))
    }

    deinit { unsafe storage.deallocate() }

    /// Forgets the events.
    public mutating func removeAll() { count = 0 }

    /// The events' positions.
    public var indices: Range<Int> { 0..<count }

    /// One event of the last wait.
    public subscript(index: Int) -> PollEvent {
        precondition(index >= 0 && index < count, "no such event")
        // In bounds by the line above.
        return unsafe PollEvent(storage[index])
    }
}

/// Waits for descriptors to become ready (epoll, level-triggered).
///
/// A descriptor that is closed leaves the poller by itself, but events of the same wait may still name it: tokens should
/// be handles with a generation (`SlotHandle.bits`), so that a stale one finds nothing.
public struct Poller: ~Copyable {
    private let descriptor: Descriptor

    /// Makes a poller that watches nothing.
    ///
    /// - Throws: If the process has no descriptor left.
    public init() throws(SystemError) {
        descriptor = try Descriptor(floe_poll_create(), "create an event poller")
    }

    /// The poller's own descriptor, readable while an event waits: something else can watch the poller.
    public var number: Int32 { descriptor.number }

    /// Begins to watch a descriptor; its events carry `token`.
    ///
    /// - Throws: If the descriptor is watched already or cannot be watched.
    public func add(_ watched: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        try check(floe_poll_add(descriptor.number, watched, interest.rawValue, token), "watch a descriptor")
    }

    /// Changes what a descriptor is watched for, and its token.
    ///
    /// - Throws: If the descriptor is not watched.
    public func modify(_ watched: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        try check(floe_poll_modify(descriptor.number, watched, interest.rawValue, token), "watch a descriptor")
    }

    /// Stops watching a descriptor.
    ///
    /// - Throws: If the descriptor is not watched.
    public func remove(_ watched: Int32) throws(SystemError) {
        try check(floe_poll_remove(descriptor.number, watched), "stop watching a descriptor")
    }

    /// Waits until something is ready or `deadline` has come; `nil` waits for ever, a past deadline not at all.
    ///
    /// It may end early without events, after a signal. Allocates nothing.
    ///
    /// - Throws: Only for a mistake in this process, such as a poller of a forked parent.
    public func wait(until deadline: Instant?, into events: inout PollEvents) throws(SystemError) {
        events.count = 0
        var timeout: Int64 = -1
        if let deadline, deadline != .distantFuture {
            timeout = Int64(clamping: (deadline - MonotonicClock.now()).nanoseconds)
        }
        // The kernel writes at most `storage.count` events.
        let result = unsafe floe_poll_wait(
            descriptor.number,
            events.storage.baseAddress,
            Int32(clamping: events.storage.count),
            timeout
        )
        try check(result, "wait for events")
        events.count = Int(result)
    }

    private func check(_ result: Int32, _ operation: String) throws(SystemError) {
        guard result >= 0 else { throw SystemError(operation, number: -result) }
    }
}
