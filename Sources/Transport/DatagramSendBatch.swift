import Bytes
import CLinux
public import Diagnostics
public import NetTypes

/// Where a datagram goes out, and to whom.
public struct DatagramRoute: Hashable, Sendable {
    /// The socket that sends it.
    public var socket: UDPSocketHandle
    /// The receiver.
    public var destination: SocketAddress
    /// The local address to send from; `nil` leaves it to the system.
    ///
    /// It matters where the socket is bound to no address.
    public var source: IPAddress?
    /// The traffic class, with the ECN bits lowest; 0 leaves it to the socket.
    public var trafficClass: UInt8 = 0
    /// The TTL or hop limit; 0 leaves it to the socket.
    public var hopLimit: UInt8 = 0

    /// Makes a route.
    public init(_ socket: UDPSocketHandle, to destination: SocketAddress, from source: IPAddress? = nil) {
        self.socket = socket
        self.destination = destination
        self.source = source
    }
}

/// What became of a datagram that was to be queued.
public enum EnqueueResult: Sendable, Equatable {
    /// It is in the batch.
    case queued
    /// There is no room before the next flush.
    case full
    /// There was nothing to send.
    case nothing
}

/// Datagrams that wait for the end of a loop's turn, to be sent by as few system calls as possible.
///
/// Payloads are copied into the batch, written into it, or left where a `DatagramReceiveBatch` has them. Flushing sends
/// those of one socket together, in the order in which they came. A datagram that cannot be sent is counted by its reason
/// and forgotten: it ends nothing, and the others go out. Allocates nothing after `init`.
@safe
public struct DatagramSendBatch: ~Copyable {
    /// How many datagrams fit.
    public let capacity: Int
    /// How many datagrams the kernel has taken.
    public private(set) var sentDatagrams: UInt64 = 0
    /// How many bytes of payload the kernel has taken.
    public private(set) var sentBytes: UInt64 = 0
    /// What could not be sent, by reason.
    public private(set) var errors = DropCounters<DatagramError>()

    // Owned from init to deinit. The first `copiedBytes` bytes of `copies` are initialized.
    private let copies: UnsafeMutableBufferPointer<UInt8>
    private let sender: OpaquePointer
    private var copiedBytes = 0
    private var queue: [floe_outgoing] = []
    private var order: SendOrder
    /// Which filling of a receive batch the references are to; `nil` without references.
    private var filling: UInt64?

    /// Whether the datagrams of many sockets leave with one system call, by io_uring.
    public let usesRing: Bool

    /// Makes an empty batch for so many datagrams, with so many bytes for copies.
    ///
    /// `usesRing` asks for io_uring; where that is forbidden, each socket's datagrams take a system call.
    public init(capacity: Int = 256, copyBytes: Int = 256 * 1024, usesRing: Bool = false) {
        precondition((1...4096).contains(capacity) && (1...(1 << 30)).contains(copyBytes), "sizes of a sensible batch")
        self.capacity = capacity
        queue.reserveCapacity(capacity)
        order = SendOrder(capacity: capacity)
        unsafe copies = .allocate(capacity: copyBytes)
        let ringSender = usesRing ? unsafe floe_sender_create(Int32(capacity), 1) : nil
        unsafe self.usesRing = ringSender != nil
        guard let sender = unsafe ringSender ?? floe_sender_create(64, 0) else {
            fatalError("no memory for a batch of datagrams")
        }
        unsafe self.sender = sender
    }

    deinit {
        unsafe floe_sender_destroy(sender)
        unsafe copies.deallocate()
    }

    /// How many datagrams wait.
    public var count: Int { queue.count }

    /// Whether nothing waits.
    public var isEmpty: Bool { queue.isEmpty }

    /// Whether datagrams wait for that socket: then they must be flushed before it is closed.
    public func holds(datagramsFor socket: UDPSocketHandle) -> Bool { order.contains(socket.descriptor) }

    /// Whether a datagram of `byteCount` bytes would be taken.
    public func hasRoom(for byteCount: Int) -> Bool {
        unsafe queue.count < capacity && byteCount <= copies.count - copiedBytes
    }

    /// Queues a copy of `bytes`; returns `false` if there is no room before the next flush.
    public mutating func enqueue(copying bytes: Span<UInt8>, on route: DatagramRoute) -> Bool {
        enqueue(maximumCount: bytes.count) { output in
            output.append(contentsOf: bytes)
            return route
        } == .queued
    }

    /// Queues what `body` writes, at most `maximumCount` bytes, to where it says; `nil` discards what was written.
    ///
    /// `body` is not called if there is no room.
    public mutating func enqueue(
        maximumCount: Int,
        writing body: (inout OutputSpan<UInt8>) -> DatagramRoute?
    ) -> EnqueueResult {
        guard hasRoom(for: maximumCount) else { return .full }
        let start = copiedBytes
        // In bounds by the guard; what is behind `copiedBytes` is nobody's.
        let free = unsafe UnsafeMutableBufferPointer(rebasing: copies[start..<start + maximumCount])
        var output = unsafe OutputSpan(buffer: free, initializedCount: 0)
        let route = body(&output)
        let written = unsafe output.finalize(for: free)
        guard let route else { return .nothing }
        copiedBytes += written
        append(route, offset: start, count: written, isReference: false)
        return .queued
    }

    /// Queues bytes of a received packet, counted from the packet's beginning, without copying them.
    ///
    /// The batch must then be flushed with `flush(referringTo:)` before `packets` is emptied. Returns `false` if there is
    /// no room before the next flush.
    public mutating func enqueue(
        packet index: Int,
        bytes range: Range<Int>,
        of packets: borrowing DatagramReceiveBatch,
        on route: DatagramRoute
    ) -> Bool {
        guard queue.count < capacity else { return false }
        precondition(filling == nil || filling == packets.filling, "references to two receive batches")
        filling = packets.filling
        append(route, offset: packets.offset(of: range, in: index), count: range.count, isReference: true)
        return true
    }

    /// Sends everything; no datagram may refer to a receive batch.
    public mutating func flush() {
        precondition(filling == nil, "datagrams that refer to a receive batch are flushed with it")
        unsafe flush(packets: nil)
    }

    /// Sends everything, with the bytes that are still in `packets`.
    public mutating func flush(referringTo packets: borrowing DatagramReceiveBatch) {
        precondition(filling == nil || filling == packets.filling, "the receive batch was emptied before this flush")
        unsafe flush(packets: packets.base)
    }

    private mutating func append(_ route: DatagramRoute, offset: Int, count: Int, isReference: Bool) {
        queue.append(
            floe_outgoing(
                destination: floe_address(route.destination),
                source: floe_address(route.source),
                offset: UInt32(offset),
                length: UInt32(count),
                descriptor: route.socket.descriptor,
                socket_family: route.socket.family.rawValue,
                is_reference: isReference ? 1 : 0,
                traffic_class: route.trafficClass,
                hop_limit: route.hopLimit
            )
        )
        order.append(route.socket.descriptor)
    }

    private mutating func flush(packets: UnsafePointer<UInt8>?) {
        order.sort()
        if usesRing {
            unsafe submitAll(packets)
        } else {
            for group in 0..<order.groupCount { unsafe send(order.range(ofGroup: group), packets) }
        }
        queue.removeAll(keepingCapacity: true)
        order.removeAll()
        copiedBytes = 0
        filling = nil
    }

    /// With so many datagrams a socket gets a system call of its own: each takes less in one than as a submission.
    private static var manyOfOneSocket: Int { 8 }

    /// Whether a socket has many messages to send, by its first and last receiver: what all goes to one leaves as few, in
    /// pieces that the kernel cuts.
    private func hasMany(_ range: Range<Int>) -> Bool {
        guard range.count >= Self.manyOfOneSocket else { return false }
        let first = queue[order.element(at: range.lowerBound)].destination
        let last = queue[order.element(at: range.upperBound - 1)].destination
        return first.low != last.low || first.port != last.port || first.high != last.high
    }

    /// Sends with one system call for all sockets, but for those that have many messages: they get one each.
    ///
    /// What the kernel refuses of the former is tried again as the latter are sent, which tells all errors.
    private mutating func submitAll(_ packets: UnsafePointer<UInt8>?) {
        for group in 0..<order.groupCount where !hasMany(order.range(ofGroup: group)) {
            let range = order.range(ofGroup: group)
            // The C function keeps pointers to the bytes only, which live until this flush has ended.
            unsafe queue.withUnsafeBufferPointer { queue in
                unsafe order.withElements(from: 0) { elements in
                    unsafe floe_sender_begin(
                        sender,
                        queue.baseAddress,
                        elements,
                        Int32(range.lowerBound),
                        Int32(range.count),
                        copies.baseAddress,
                        packets
                    )
                }
            }
        }
        for failure in 0..<(unsafe floe_sender_finish(sender, &sentDatagrams, &sentBytes)) {
            var first: Int32 = 0
            var count: Int32 = 0
            let result = unsafe floe_sender_failure(sender, failure, &first, &count)
            guard DatagramError(errno: -result) != .wouldBlock else {
                for _ in 0..<count { errors.count(.wouldBlock) }
                continue
            }
            unsafe send(Int(first)..<Int(first + count), packets)
        }
        // After the others: the headers that submissions refer to are used again.
        for group in 0..<order.groupCount where hasMany(order.range(ofGroup: group)) {
            unsafe send(order.range(ofGroup: group), packets)
        }
    }

    /// Sends the datagrams of one socket.
    private mutating func send(_ range: Range<Int>, _ packets: UnsafePointer<UInt8>?) {
        var next = range.lowerBound
        // Sent again: the error may have been an earlier datagram's, told only once, and this one not have been tried.
        var doubted: DatagramError?
        while next < range.upperBound {
            let result = unsafe sendSome(next..<range.upperBound, packets)
            if result > 0 {
                for position in next..<next + result { sentBytes &+= UInt64(queue[order.element(at: position)].length) }
                sentDatagrams &+= UInt64(result)
                next += result
                if let doubted { errors.count(doubted) }
                doubted = nil
                continue
            }
            let error = DatagramError(errno: Int32(-result))
            if error == .wouldBlock {
                // The rest would be refused as well, at the price of a system call each.
                for _ in next..<range.upperBound { errors.count(.wouldBlock) }
                return
            }
            guard doubted != nil || !error.mayBeEarlier else {
                doubted = error
                continue
            }
            errors.count(error)
            doubted = nil
            next += 1
        }
    }

    private func sendSome(_ range: Range<Int>, _ packets: UnsafePointer<UInt8>?) -> Int {
        // Offsets and lengths were checked when they were queued, against memory that lives as long as its batch.
        unsafe queue.withUnsafeBufferPointer { queue in
            unsafe order.withElements(from: range.lowerBound) { elements in
                Int(
                    unsafe floe_send(
                        sender,
                        queue.baseAddress,
                        elements,
                        Int32(range.count),
                        copies.baseAddress,
                        packets
                    )
                )
            }
        }
    }
}
