import CLinux
public import Diagnostics
public import NetTypes

/// Buffers for received datagrams, made once and filled by as few system calls as possible.
///
/// A loop fills it from one socket after another, hands each datagram to an engine, lets a `DatagramSendBatch` refer to
/// the bytes, flushes that, and empties this one: datagrams are not copied on their way. Around each payload there is
/// free room, `headroom` before and `tailroom` behind it, so that a header can be written in place.
///
/// This is the border behind which another back end, such as io_uring, may fill the same buffers.
@safe
public struct DatagramReceiveBatch: ~Copyable {
    /// The free bytes before each payload.
    public static let headroom = 64
    /// The free bytes behind each payload, at least.
    public static let tailroom = 64

    /// How many datagrams fit.
    public let capacity: Int
    /// The length of the longest payload in bytes; what is longer is cut and marked.
    public let payloadCapacity: Int
    /// How many datagrams are in the batch.
    public private(set) var count = 0
    /// What went wrong in receiving.
    public private(set) var errors = DropCounters<DatagramError>()

    // Owned from init to deinit, like the kernel's headers, which point into `memory`. `capacity` buffers of `stride`
    // bytes, all initialized; `datagrams` has `capacity` elements.
    private let memory: UnsafeMutableBufferPointer<UInt8>
    private let datagrams: UnsafeMutableBufferPointer<floe_datagram>
    private let receiver: OpaquePointer
    private let stride: Int
    /// Tells one filling from the next, so that nobody sends bytes of an earlier one by mistake.
    private(set) var filling: UInt64 = 0

    /// Makes an empty batch; this is the only time that it allocates.
    public init(capacity: Int = 64, payloadCapacity: Int = 2048) {
        precondition(
            (1...1024).contains(capacity) && (1...65536).contains(payloadCapacity),
            "sizes of a sensible batch"
        )
        self.capacity = capacity
        self.payloadCapacity = payloadCapacity
        stride = (Self.headroom + payloadCapacity + Self.tailroom + 63) / 64 * 64
        unsafe memory = .allocate(capacity: capacity * stride)
        unsafe memory.initialize(repeating: 0)
        unsafe datagrams = .allocate(capacity: capacity)
        unsafe datagrams.initialize(repeating: floe_datagram())
        guard
            let receiver = unsafe floe_receiver_create(
                Int32(capacity),
                memory.baseAddress,
                stride,
                Self.headroom,
                payloadCapacity
            )
        else { fatalError("no memory for a batch of datagrams") }
        unsafe self.receiver = receiver
    }

    deinit {
        unsafe floe_receiver_destroy(receiver)
        unsafe datagrams.deallocate()
        unsafe memory.deallocate()
    }

    /// Whether no further datagram fits.
    public var isFull: Bool { count == capacity }

    /// Receives what waits at a socket, as far as there is room; returns the positions of the new datagrams.
    ///
    /// An empty range means that nothing waits, or that there was an error, which is counted, or no room. Fewer than
    /// asked for means that the socket is drained.
    public mutating func receive(from socket: UDPSocketHandle) -> Range<Int> {
        let first = count
        var attempts = 2
        while !isFull, attempts > 0 {
            attempts -= 1
            // Writes at most `capacity - first` elements, from `first` on.
            let result = unsafe floe_receive(
                receiver,
                socket.descriptor,
                Int32(first),
                Int32(capacity - first),
                datagrams.baseAddress.map { unsafe $0 + first }
            )
            guard result < 0 else {
                count += Int(result)
                break
            }
            let error = DatagramError(errno: -result)
            if error == .wouldBlock { break }
            // The pending error of an earlier datagram; reading has cleared it, the datagrams come with the next call.
            errors.count(error)
        }
        complete(first..<count, socket)
        return first..<count
    }

    /// Empties the batch; the bytes of its datagrams may be overwritten from now on.
    public mutating func removeAll() {
        count = 0
        filling &+= 1
    }

    /// Where a datagram came from; plain IPv4 on a dual-stack socket too.
    public func source(of index: Int) -> SocketAddress { unsafe datagrams[check(index)].source.socketAddress }

    /// Where a datagram was sent to: the address to answer from.
    public func destination(of index: Int) -> SocketAddress { unsafe datagrams[check(index)].local.socketAddress }

    /// Whether a datagram was longer than `payloadCapacity`.
    public func isTruncated(_ index: Int) -> Bool { unsafe datagrams[check(index)].is_truncated != 0 }

    /// The traffic class of a datagram, with the ECN bits lowest; 0 if its socket does not report it.
    public func trafficClass(of index: Int) -> UInt8 { unsafe datagrams[check(index)].traffic_class }

    /// Where the payload stands in `packet`.
    public func payloadRange(of index: Int) -> Range<Int> {
        Self.headroom..<Self.headroom + (unsafe Int(datagrams[check(index)].length))
    }

    /// The bytes of a datagram.
    @_lifetime(borrow self)
    public func payload(of index: Int) -> Span<UInt8> {
        let start = check(index) * stride + Self.headroom
        // The length is at most `payloadCapacity`, which the kernel was told; the memory lives as long as the batch.
        let bytes = unsafe UnsafeBufferPointer(rebasing: memory[start..<start + Int(datagrams[index].length)])
        return unsafe _overrideLifetime(Span(_unsafeElements: bytes), borrowing: self)
    }

    /// The whole buffer of a datagram: headroom, payload and tailroom, to be changed in place.
    @_lifetime(&self)
    public mutating func packet(at index: Int) -> MutableSpan<UInt8> {
        let start = check(index) * stride
        // In bounds of the memory, which lives as long as the batch.
        let bytes = unsafe UnsafeMutableBufferPointer(rebasing: memory[start..<start + stride])
        return unsafe _overrideLifetime(MutableSpan(_unsafeElements: bytes), mutating: &self)
    }

    /// The first byte of all buffers, for the sender that refers to them.
    var base: UnsafePointer<UInt8>? { unsafe UnsafePointer(memory.baseAddress) }

    /// Where bytes of a packet begin, counted from `base`; the range must lie within the packet.
    func offset(of range: Range<Int>, in index: Int) -> Int {
        let start = check(index) * stride
        precondition(range.lowerBound >= 0 && range.upperBound <= stride, "bytes outside of their packet")
        return start + range.lowerBound
    }

    private func check(_ index: Int) -> Int {
        precondition(index >= 0 && index < count, "no such datagram in the batch")
        return index
    }

    /// Fills in what the kernel did not tell: the port, and the address of a socket that is bound to one.
    private mutating func complete(_ range: Range<Int>, _ socket: UDPSocketHandle) {
        for index in range {
            if unsafe datagrams[index].local.family == 0 {
                unsafe datagrams[index].local = floe_address(socket.localAddress)
            }
            unsafe datagrams[index].local.port = socket.localAddress.port
        }
    }
}
