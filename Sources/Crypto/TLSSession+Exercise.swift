extension TLSSession {
    /// Plays the driver to bytes of an attacker, for fuzzing: the first byte is the size of the pieces, less one.
    ///
    /// Traps if a limit is passed.
    package mutating func exercise(with input: Span<UInt8>) {
        guard !input.isEmpty else { return }
        let size = Int(input[0]) + 1
        var scratch = [UInt8](repeating: 0, count: 512)
        var offset = 1
        while offset < input.count {
            let end = min(offset + size, input.count)
            receive(input.extracting(offset..<end))
            offset = end
            drainPlaintext(&scratch)
            let pending = pendingOutputByteCount
            precondition(pending <= Self.pendingOutputLimit, "more output than the limit allows")
            precondition(failure == nil || !isEstablished || !write(scratch.span), "a failed session has written")
        }
        var output = OutputSpan<UInt8>()
        pollTransmit(into: &output)
        close()
    }

    private mutating func drainPlaintext(_ scratch: inout [UInt8]) {
        while true {
            scratch.removeAll(keepingCapacity: true)
            var result = TLSReadResult.wouldBlock
            scratch.append(addingCapacity: 512) { result = read(into: &$0) }
            guard case .bytes(let count) = result else { return }
            precondition(count > 0 && count == scratch.count, "a read has miscounted")
        }
    }
}
