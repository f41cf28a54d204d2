import Bytes

/// Received bytes that are not consumed yet, and the search for line ends in them, which looks at each byte once.
struct LineBuffer {
    private var bytes: [UInt8] = []
    private var start = 0
    private var scanned = 0

    var count: Int { bytes.count - start }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ span: Span<UInt8>) {
        compact()
        // Without room to add, the standard library writes a count into the storage that all empty arrays share.
        guard !span.isEmpty else { return }
        bytes.append(addingCapacity: span.count) { $0.append(contentsOf: span) }
    }

    /// Takes the next line, without its CR LF; `nil` if it is not complete.
    ///
    /// What is wrong is found byte by byte in order, so it does not matter how the bytes were cut on their way.
    mutating func takeLine(limit: Int, tooLong: HTTPDropReason) throws(HTTPDropReason) -> ArraySlice<UInt8>? {
        while scanned < bytes.count {
            let byte = bytes[scanned]
            let afterReturn = scanned > start && bytes[scanned - 1] == 0x0D
            if byte == 0x0A {
                guard afterReturn else { throw .bareLineFeed }
                let line = bytes[start..<(scanned - 1)]
                scanned += 1
                start = scanned
                return line
            }
            if afterReturn { throw .bareCarriageReturn }
            if byte != 0x0D {
                if (byte < 0x20 && byte != 0x09) || byte == 0x7F { throw .controlCharacter }
                if scanned - start >= limit { throw tooLong }
            }
            scanned += 1
        }
        return nil
    }

    /// Takes at most `limit` bytes from the front.
    mutating func take(_ limit: Int) -> ArraySlice<UInt8> {
        let end = start + min(limit, count)
        defer { (start, scanned) = (end, end) }
        return bytes[start..<end]
    }

    /// Takes everything and gives the memory back.
    mutating func takeAll() -> [UInt8] {
        defer { self = LineBuffer() }
        return Array(bytes[start...])
    }

    private mutating func compact() {
        guard start > 0 else { return }
        if start == bytes.count {
            // Connections that wait for their next request are many; a large buffer is not kept for them.
            if bytes.capacity > 4096 { bytes = [] } else { bytes.removeAll(keepingCapacity: true) }
        } else {
            bytes.removeFirst(start)
        }
        scanned -= start
        start = 0
    }
}
