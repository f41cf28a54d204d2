import CLinux
public import Diagnostics
import EventLoop
import Glibc
public import NetTypes

/// Buffers for received datagrams, made once and filled by as few system calls as possible.
///
/// A loop fills it from one socket after another, hands each datagram to an engine, lets a `DatagramSendBatch` refer to
/// the bytes, flushes that, and empties this one: datagrams are not copied on their way. Around each payload there is
/// free room, `headroom` before and `tailroom` behind it, so that a header can be written in place.
///
/// From sockets that merge (`UDPSocket.Options.mergesReceived`) the kernel hands over many datagrams of one flow as one.
/// They are told apart here, so that nobody else need know of it; those that are to be changed in place are moved
/// apart first.
///
/// With a ring (`init(ringOf:)`) the kernel fills the buffers by itself, from all sockets that were added to it; see
/// `DatagramReceiveBatch+Ring.swift`. Some more buffers are for sockets that were not, from which `receive` reads as ever.
@safe
public struct DatagramReceiveBatch: ~Copyable {
    /// The free bytes before each payload.
    public static let headroom = 64
    /// The free bytes behind each payload, at least.
    public static let tailroom = 64

    /// How much room the merged datagrams of one message need once they are moved apart.
    private let separateBytes: Int

    /// One datagram: which message of the kernel brought it, and where its payload stands in `memory`.
    private struct Place {
        var message: Int32
        var length: Int32
        var offset: Int
    }

    /// How many messages of the kernel fit, each with one datagram or, from sockets that merge, with up to 64.
    public let capacity: Int
    /// The length of the longest payload in bytes; what is longer is cut and marked.
    public let payloadCapacity: Int
    /// How many datagrams are in the batch.
    public private(set) var count = 0
    /// Whether the last `receive` has found less than there was room for, so that the socket was empty then.
    public private(set) var hasDrained = false
    /// What went wrong in receiving.
    public private(set) var errors = DropCounters<DatagramError>()

    // Owned from init to deinit, like the kernel's headers, which point into `memory`: `capacity` buffers of `stride`
    // bytes, with a ring `directCapacity` more, then the room for what is moved apart, all initialized; `messages` has
    // one element for each buffer; the first `count` elements of `places` are initialized, and lie within `memory` with
    // head- and tailroom.
    private let memory: UnsafeMutableBufferPointer<UInt8>
    let messages: UnsafeMutableBufferPointer<floe_datagram>
    private let places: UnsafeMutableBufferPointer<Place>
    /// The kernel's headers, for `directCapacity` buffers from `directStart` on.
    private let receiver: OpaquePointer?
    private let directCapacity: Int
    private let directStart: Int
    let ring: OpaquePointer?
    private let stride: Int
    /// Where the payload begins in a buffer.
    private let lead: Int
    private let isMerging: Bool
    private var messageCount = 0
    /// How many of the messages came by `receive`.
    private var directCount = 0
    private var isExhausted = false
    /// A socket from which nothing more will come before it is added again, until that is told.
    var stopped: UInt64?
    var pace = ArrivalPace()
    /// The first free byte behind the buffers.
    private var separateEnd: Int
    /// Tells one filling from the next, so that nobody sends bytes of an earlier one by mistake.
    private(set) var filling: UInt64 = 0

    /// Makes an empty batch; this is the only time that it allocates.
    ///
    /// `merging` is for sockets that merge: it makes buffers of 64 KiB, and room to move datagrams apart, `mergedLimit` of
    /// one message; what the kernel merges beyond that is dropped and counted.
    /// `gathering` is how long `rest` lets datagrams wait for each other.
    public init(
        capacity: Int = 64,
        payloadCapacity: Int = 2048,
        merging: Bool = false,
        mergedLimit: Int = 128,
        gathering: TimeSpan = .zero
    ) {
        // Without a ring nothing but memory can be refused.
        do throws(SystemError) {
            try self.init(capacity, payloadCapacity, merging: merging, mergedLimit: mergedLimit, completions: nil)
        } catch {
            fatalError("a batch of datagrams: \(error)")
        }
        pace.limit = gathering
    }

    init(
        _ capacity: Int,
        _ payloadCapacity: Int,
        merging: Bool,
        mergedLimit: Int = 128,
        completions: Int?
    ) throws(SystemError) {
        precondition(
            (1...4096).contains(capacity) && (1...65536).contains(payloadCapacity),
            "sizes of a sensible batch"
        )
        self.capacity = capacity
        isMerging = merging
        separateBytes = 65536 + mergedLimit * (Self.headroom + Self.tailroom + 64)
        self.payloadCapacity = merging ? 65536 : payloadCapacity
        // Not a power of two: else the first lines of all buffers would fight for the same places in the cache.
        lead = completions != nil ? Int(FLOE_RING_LEAD) : Self.headroom
        stride = (lead + self.payloadCapacity + Self.tailroom + 63) / 64 * 64
        directCapacity = completions != nil ? min(capacity, Self.besideRing) : capacity
        directStart = completions != nil ? capacity * stride : 0
        let separateStart = directStart + directCapacity * stride
        separateEnd = separateStart
        let separate = merging ? max(2 * separateBytes, capacity * 16 * 1024) : 0
        // Zeroed pages that nobody has touched cost no memory: most buffers of 64 KiB are used for 2 KiB at most.
        let byteCount = separateStart + separate
        let zeroed = unsafe calloc(1, byteCount)
        unsafe memory = UnsafeMutableBufferPointer(
            start: zeroed?.bindMemory(to: UInt8.self, capacity: byteCount),
            count: zeroed == nil ? 0 : byteCount
        )
        let buffers = completions != nil ? capacity + directCapacity : capacity
        unsafe messages = .allocate(capacity: buffers)
        unsafe messages.initialize(repeating: floe_datagram())
        unsafe places = .allocate(capacity: merging ? buffers * mergedLimit : buffers)
        if let first = unsafe memory.baseAddress {
            let direct = unsafe first + directStart
            unsafe receiver =
                floe_receiver_create(Int32(directCapacity), direct, stride, lead, self.payloadCapacity)
        } else {
            unsafe receiver = nil
        }
        var opened: OpaquePointer?
        // The kernel writes into the buffers only within the ring's functions, until the ring is destroyed.
        var result = unsafe receiver == nil ? -ENOMEM : 0
        if let completions, result == 0 {
            result = unsafe floe_ring_create(
                &opened,
                memory.baseAddress,
                stride,
                lead + self.payloadCapacity,
                Int32(capacity),
                Int32(Self.suppliedAtFirst),
                Int32(completions)
            )
        }
        unsafe ring = opened
        guard result >= 0 else {
            throw SystemError(completions == nil ? "make buffers for datagrams" : "use io_uring", number: -result)
        }
    }

    deinit {
        unsafe floe_ring_destroy(ring)
        unsafe floe_receiver_destroy(receiver)
        unsafe places.deallocate()
        unsafe messages.deallocate()
        unsafe free(memory.baseAddress)
    }

    /// Whether no further datagram fits.
    public var isFull: Bool { messageCount - directCount == capacity || directCount == directCapacity || isExhausted }

    /// Receives what waits at a socket, as far as there is room; returns the positions of the new datagrams.
    ///
    /// An empty range means that nothing waits, or that there was an error, which is counted, or no room. Fewer than
    /// asked for means that the socket is drained. Datagrams that are to be changed in place with `packet(at:)` must be
    /// received `separately` from a socket that merges; at least one message then finds room in an empty batch. What is
    /// not `gathered` counts for no rest, and none is made while more of it waits.
    public mutating func receive(
        from socket: UDPSocketHandle,
        separately: Bool = false,
        gathered: Bool = true
    ) -> Range<Int> {
        let firstPlace = count
        let first = messageCount
        let firstDirect = directCount
        let room = room(for: directCapacity - directCount, separately: separately)
        var attempts = 2
        hasDrained = false
        while room > 0, attempts > 0 {
            attempts -= 1
            // Writes at most `room` elements, from `first` on.
            let result = unsafe floe_receive(
                receiver,
                socket.descriptor,
                Int32(firstDirect),
                Int32(room),
                messages.baseAddress.map { unsafe $0 + first }
            )
            guard result < 0 else {
                messageCount += Int(result)
                directCount += Int(result)
                hasDrained = Int(result) < room
                break
            }
            let error = DatagramError(errno: -result)
            if error == .wouldBlock {
                hasDrained = true
                break
            }
            // The pending error of an earlier datagram; reading has cleared it, the datagrams come with the next call.
            errors.count(error)
        }
        for message in first..<messageCount {
            let buffer = firstDirect + message - first
            take(message, at: directStart + buffer * stride + lead, from: socket, separately: separately)
        }
        if gathered { pace.count(count - firstPlace) } else if !hasDrained { pace.hasMore = true }
        return firstPlace..<count
    }

    /// Sleeps, at most until `deadline`, while so many datagrams come that a wake-up for few of them is a waste.
    ///
    /// For batches without a ring, whose wait rests by itself. Where more than 30 000 come in a second, it takes as long as
    /// `gathering` says, unless those received since the last rest were many.
    public mutating func rest(until deadline: Instant) {
        let now = MonotonicClock.now()
        let time = min(pace.rest(at: now), deadline - now)
        if time > .zero { floe_rest(Int64(clamping: time.nanoseconds)) }
    }

    /// Takes from the ring what the socket has brought next, as far as there is room.
    mutating func takeArrivals(from socket: UDPSocketHandle, token: UInt64, separately: Bool) -> Range<Int> {
        let first = count
        var event = floe_ring_event()
        while stopped == nil, room(for: capacity - (messageCount - directCount), separately: separately) > 0,
            unsafe floe_ring_peek(ring, &event) != 0
        {
            guard event.kind == FLOE_RING_RECEIVED, event.token == token, event.has_buffer != 0, event.result >= 0
            else { break }
            unsafe floe_ring_pop(ring)
            if event.has_more == 0 { stopped = token }
            let message = messageCount
            messageCount += 1
            // In bounds: there was room. What makes no sense is a buffer to give back, nothing else.
            let start = unsafe messages.baseAddress.map { unsafe $0 + message }
            guard unsafe floe_ring_read(ring, event.buffer, event.result, start) != 0 else { continue }
            take(message, at: Int(event.buffer) * stride + lead, from: socket, separately: separately)
        }
        pace.count(count - first)
        return first..<count
    }

    /// For how many messages there is room, where so many buffers are free; if for none, the batch is full.
    private mutating func room(for free: Int, separately: Bool) -> Int {
        guard separately, isMerging else { return free }
        let room = unsafe min(free, (memory.count - separateEnd) / separateBytes)
        // What has no room to be moved apart waits for an empty batch.
        if room == 0 { isExhausted = true }
        return room
    }

    mutating func countError(_ error: DatagramError) { errors.count(error) }

    /// Empties the batch; the bytes of its datagrams may be overwritten from now on.
    public mutating func removeAll() {
        // Of the first `messageCount` elements those that came by the ring name buffers of it, each once.
        if unsafe ring != nil, messageCount > directCount {
            unsafe floe_ring_recycle(ring, messages.baseAddress, Int32(messageCount))
        }
        count = 0
        isExhausted = false
        messageCount = 0
        directCount = 0
        separateEnd = directStart + directCapacity * stride
        filling &+= 1
    }

    /// Where a datagram came from; plain IPv4 on a dual-stack socket too.
    public func source(of index: Int) -> SocketAddress { unsafe messages[message(of: index)].source.socketAddress }

    /// Where a datagram was sent to: the address to answer from.
    public func destination(of index: Int) -> SocketAddress { unsafe messages[message(of: index)].local.socketAddress }

    /// Whether a datagram was longer than `payloadCapacity`.
    public func isTruncated(_ index: Int) -> Bool { unsafe messages[message(of: index)].is_truncated != 0 }

    /// The traffic class of a datagram, with the ECN bits lowest; 0 if its socket does not report it.
    public func trafficClass(of index: Int) -> UInt8 { unsafe messages[message(of: index)].traffic_class }

    /// The TTL or hop limit of a datagram as it arrived; 0 if its socket does not report it.
    public func hopLimit(of index: Int) -> UInt8 { unsafe messages[message(of: index)].hop_limit }

    /// Where the payload stands in `packet`.
    public func payloadRange(of index: Int) -> Range<Int> {
        Self.headroom..<Self.headroom + (unsafe Int(places[check(index)].length))
    }

    /// The bytes of a datagram.
    @_lifetime(borrow self)
    public func payload(of index: Int) -> Span<UInt8> {
        let place = unsafe places[check(index)]
        // In bounds of the memory, which lives as long as the batch.
        let bytes = unsafe UnsafeBufferPointer(rebasing: memory[place.offset..<place.offset + Int(place.length)])
        return unsafe _overrideLifetime(Span(_unsafeElements: bytes), borrowing: self)
    }

    /// Bytes of a packet, counted from the packet's beginning; the range must lie within it.
    @_lifetime(borrow self)
    public func bytes(_ range: Range<Int>, of index: Int) -> Span<UInt8> {
        let start = offset(of: range, in: index)
        // In bounds of the memory, which lives as long as the batch.
        let bytes = unsafe UnsafeBufferPointer(rebasing: memory[start..<start + range.count])
        return unsafe _overrideLifetime(Span(_unsafeElements: bytes), borrowing: self)
    }

    /// A datagram with its headroom and tailroom, to be changed in place.
    @_lifetime(&self)
    public mutating func packet(at index: Int) -> MutableSpan<UInt8> {
        let place = unsafe places[check(index)]
        let end = place.offset + Int(place.length) + Self.tailroom
        // In bounds of the memory, which lives as long as the batch.
        let bytes = unsafe UnsafeMutableBufferPointer(rebasing: memory[place.offset - Self.headroom..<end])
        return unsafe _overrideLifetime(MutableSpan(_unsafeElements: bytes), mutating: &self)
    }

    /// The first byte of all buffers, for the sender that refers to them.
    var base: UnsafePointer<UInt8>? { unsafe UnsafePointer(memory.baseAddress) }

    /// Where bytes of a packet begin, counted from `base`; the range must lie within the packet.
    func offset(of range: Range<Int>, in index: Int) -> Int {
        let place = unsafe places[check(index)]
        let limit = Self.headroom + Int(place.length) + Self.tailroom
        precondition(range.lowerBound >= 0 && range.upperBound <= limit, "bytes outside of their packet")
        return place.offset - Self.headroom + range.lowerBound
    }

    private func check(_ index: Int) -> Int {
        precondition(index >= 0 && index < count, "no such datagram in the batch")
        return index
    }

    private func message(of index: Int) -> Int { unsafe Int(places[check(index)].message) }

    /// Fills in what the kernel did not tell, the port and the address of a socket that is bound to one, and finds the
    /// datagrams in a message.
    private mutating func take(_ message: Int, at start: Int, from socket: UDPSocketHandle, separately: Bool) {
        if unsafe messages[message].local.family == 0 {
            unsafe messages[message].local = floe_address(socket.localAddress)
        }
        // The port is told only by a socket that receives for many.
        if unsafe messages[message].local.port == 0 {
            unsafe messages[message].local.port = socket.localAddress.port
        }
        let length = unsafe Int(messages[message].length)
        let segment = unsafe Int(messages[message].segment_length)
        guard isMerging, segment > 0, length > segment else { return append(message, start, length) }
        var offset = 0
        while offset < length {
            let part = min(segment, length - offset)
            // The first one has headroom where it stands, and the next ones have left before its tailroom is used.
            let isMoved = separately && offset > 0
            // How many there are is the kernel's word, and on a virtual machine its neighbours'.
            guard hasRoom(toMove: isMoved ? part : nil) else { return countLost(length - offset, segment) }
            append(message, isMoved ? move(start + offset, part) : start + offset, part)
            offset += part
        }
    }

    /// Whether one more datagram fits; `length` is that of one which must be moved.
    private func hasRoom(toMove length: Int?) -> Bool {
        guard unsafe count < places.count else { return false }
        guard let length else { return true }
        return unsafe separateEnd + Self.headroom + length + Self.tailroom <= memory.count
    }

    private mutating func countLost(_ bytes: Int, _ segment: Int) {
        for _ in 0..<(bytes + segment - 1) / segment { errors.count(.mergedBeyondRoom) }
    }

    private mutating func append(_ message: Int, _ offset: Int, _ length: Int) {
        // One for each message that is not merged, and of the others so many as fit.
        guard unsafe count < places.count else { return errors.count(.mergedBeyondRoom) }
        unsafe places.initializeElement(
            at: count,
            to: Place(message: Int32(message), length: Int32(length), offset: offset)
        )
        count += 1
    }

    /// Copies bytes to a place of their own, with room around them.
    private mutating func move(_ offset: Int, _ length: Int) -> Int {
        let start = separateEnd + Self.headroom
        let end = start + length + Self.tailroom
        precondition(unsafe end <= memory.count, "room was left for this")
        // Both ranges are in bounds, and the second one is behind all buffers.
        let source = unsafe UnsafeBufferPointer(rebasing: memory[offset..<offset + length])
        _ = unsafe UnsafeMutableBufferPointer(rebasing: memory[start..<start + length]).update(fromContentsOf: source)
        separateEnd = (end + 63) / 64 * 64
        return start
    }
}
