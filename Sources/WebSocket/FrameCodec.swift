import CWslay
import NetTypes

/// The fixed part of a frame (RFC 6455 §5.2).
struct FrameHeader: Equatable {
    enum Opcode: UInt8 {
        case continuation = 0
        case text = 1
        case binary = 2
        case close = 8
        case ping = 9
        case pong = 10

        var isControl: Bool { rawValue >= 8 }
    }

    let isFinal: Bool
    let reservedBits: UInt8
    /// As on the wire; values without an `Opcode` are reserved.
    let opcodeBits: UInt8
    let isMasked: Bool
    let payloadLength: UInt64
}

/// Frames in and out of bytes: owns a frame context of wslay.
///
/// Departure: the frame layer of the library is used, not the event layer above it. That one sends a close ahead of
/// messages that were queued before it, checks a close reason as UTF-8 only if it arrives in one piece, takes a close
/// payload of one byte, ends without a code after a malformed header, and stores a fragment of one byte in three blocks.
@safe
struct FrameCodec: ~Copyable, @unchecked Sendable {
    // Sendable: this value is the only owner of its memory, so whoever has it has all of it; the library has no globals.
    // What the callbacks read and write. The pointers are set for the length of one call into the library, and nil else.
    @unsafe struct Exchange {
        var input: UnsafePointer<UInt8>?
        var inputCount = 0
        var output: UnsafeMutablePointer<UInt8>?
        var outputCapacity = 0
        var outputCount = 0
        var entropy: Entropy
    }

    enum Decoded: Equatable {
        /// All input was consumed.
        case needsInput
        /// Part of a frame: `payload` has the bytes, up to the next call of `decode`.
        case chunk(FrameHeader)
        /// The header breaks a rule: lengths not minimal, or a control frame that is fragmented or too long.
        case malformed
    }

    // Both are owned by this value and freed with it; `context` was given `exchange` as its user data.
    private let context: OpaquePointer
    private let exchange: UnsafeMutablePointer<Exchange>
    private let masks: Bool
    // Points into the context's own buffer, valid until the next call of `wslay_frame_recv`.
    private var chunk: UnsafeBufferPointer<UInt8>

    /// Makes a codec; with `masks` outgoing frames are masked with keys from `entropy`, as a client must.
    init(masks: Bool, entropy: Entropy) {
        let exchange = UnsafeMutablePointer<Exchange>.allocate(capacity: 1)
        unsafe exchange.initialize(to: unsafe Exchange(input: nil, output: nil, entropy: entropy))
        var callbacks = unsafe wslay_frame_callbacks(
            send_callback: sendCallback,
            recv_callback: receiveCallback,
            genmask_callback: maskCallback
        )
        var context: OpaquePointer?
        let result = unsafe wslay_frame_context_init(&context, &callbacks, exchange)
        // The library's one allocation; Swift's own would stop the program here as well.
        guard result == 0, let made = unsafe context else { fatalError("wslay_frame_context_init: out of memory") }
        unsafe self.context = made
        unsafe self.exchange = unsafe exchange
        self.masks = masks
        unsafe chunk = UnsafeBufferPointer(start: nil, count: 0)
    }

    deinit {
        unsafe wslay_frame_context_free(context)
        unsafe exchange.deinitialize(count: 1)
        unsafe exchange.deallocate()
    }

    /// Reads on in `input` from `offset`, which moves to behind what was consumed.
    mutating func decode(_ input: Span<UInt8>, from offset: inout Int) -> Decoded {
        var frame = unsafe wslay_frame_iocb()
        let rest = input.extracting(offset..<input.count)
        // The input is borrowed for the call; the callback copies no more than `inputCount` bytes of it.
        let result = unsafe rest.withUnsafeBufferPointer { buffer in
            unsafe exchange.pointee.input = buffer.baseAddress
            unsafe exchange.pointee.inputCount = buffer.count
            let result = unsafe wslay_frame_recv(context, &frame)
            offset += unsafe buffer.count - exchange.pointee.inputCount
            unsafe exchange.pointee.input = nil
            unsafe exchange.pointee.inputCount = 0
            return result
        }
        guard result >= 0 else { return result == Int(WSLAY_ERR_WANT_READ.rawValue) ? .needsInput : .malformed }
        unsafe chunk = UnsafeBufferPointer(start: frame.data, count: result)
        return unsafe .chunk(
            FrameHeader(
                isFinal: frame.fin != 0,
                reservedBits: frame.rsv,
                opcodeBits: frame.opcode,
                isMasked: frame.mask != 0,
                payloadLength: frame.payload_length
            )
        )
    }

    /// The unmasked bytes of the chunk that `decode` has returned.
    var payload: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            // The bytes belong to the context, which lives as long as this value and changes only in `decode`.
            let span = unsafe Span(_unsafeElements: chunk)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Writes as much of a whole message's frame as fits; `offset` counts the payload bytes written so far.
    ///
    /// Call it with the same frame until it returns `true`: the frame is complete then.
    mutating func encode(
        _ opcode: FrameHeader.Opcode,
        _ payload: [UInt8],
        from offset: inout Int,
        into output: inout OutputSpan<UInt8>
    ) -> Bool {
        let result = unsafe payload.withUnsafeBufferPointer { source in
            unsafe output.withUnsafeMutableBufferPointer { buffer, initialized in
                var frame = unsafe wslay_frame_iocb()
                unsafe frame.fin = 1
                unsafe frame.opcode = opcode.rawValue
                unsafe frame.mask = masks ? 1 : 0
                unsafe frame.payload_length = UInt64(source.count)
                unsafe frame.data = source.baseAddress.map { unsafe $0 + offset }
                unsafe frame.data_length = source.count - offset
                // The output is borrowed for the call; the callback writes no more than `outputCapacity` bytes.
                unsafe exchange.pointee.output = buffer.baseAddress.map { unsafe $0 + initialized }
                unsafe exchange.pointee.outputCapacity = buffer.count - initialized
                unsafe exchange.pointee.outputCount = 0
                let result = unsafe wslay_frame_send(context, &frame)
                initialized += unsafe exchange.pointee.outputCount
                unsafe exchange.pointee.output = nil
                unsafe exchange.pointee.outputCapacity = 0
                return result
            }
        }
        guard result >= 0 else { return false }
        offset += result
        return offset == payload.count
    }
}

private func sendCallback(
    _ bytes: UnsafePointer<UInt8>?,
    _ count: Int,
    _ flags: Int32,
    _ userData: UnsafeMutableRawPointer?
) -> Int {
    // `userData` is the codec's `Exchange`; the library passes it back within a call that the codec makes.
    guard let exchange = unsafe userData?.assumingMemoryBound(to: FrameCodec.Exchange.self), let bytes = unsafe bytes,
        let output = unsafe exchange.pointee.output
    else { return -1 }
    let used = unsafe exchange.pointee.outputCount
    let taken = unsafe min(count, exchange.pointee.outputCapacity - used)
    guard taken > 0 else { return -1 }
    unsafe (output + used).update(from: bytes, count: taken)
    unsafe exchange.pointee.outputCount = used + taken
    return taken
}

private func receiveCallback(
    _ buffer: UnsafeMutablePointer<UInt8>?,
    _ count: Int,
    _ flags: Int32,
    _ userData: UnsafeMutableRawPointer?
) -> Int {
    // As above; `buffer` has room for `count` bytes in the library's context.
    guard let exchange = unsafe userData?.assumingMemoryBound(to: FrameCodec.Exchange.self),
        let buffer = unsafe buffer, let input = unsafe exchange.pointee.input
    else { return -1 }
    let taken = unsafe min(count, exchange.pointee.inputCount)
    guard taken > 0 else { return -1 }
    unsafe buffer.update(from: input, count: taken)
    unsafe exchange.pointee.input = unsafe input + taken
    unsafe exchange.pointee.inputCount -= taken
    return taken
}

private func maskCallback(
    _ buffer: UnsafeMutablePointer<UInt8>?,
    _ count: Int,
    _ userData: UnsafeMutableRawPointer?
) -> Int32 {
    // As above; `buffer` has room for the `count` bytes of a masking key.
    guard let exchange = unsafe userData?.assumingMemoryBound(to: FrameCodec.Exchange.self),
        let buffer = unsafe buffer
    else { return -1 }
    var key = unsafe exchange.pointee.entropy.next()
    for index in 0..<count {
        unsafe buffer[index] = UInt8(truncatingIfNeeded: key)
        key &>>= 8
    }
    return 0
}
