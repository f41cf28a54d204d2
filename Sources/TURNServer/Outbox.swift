import Bytes

/// Encoded responses that wait for the driver, in one buffer that is used again once all are taken.
struct Outbox: ~Copyable {
    private struct Entry {
        let client: ClientTuple
        let start: Int
        let end: Int
    }

    private var bytes: [UInt8] = []
    private var entries: [Entry] = []
    private var next = 0
    private let capacity: Int

    /// Memory grows to what was needed, `capacity` bytes at most, and is kept.
    init(capacity: Int) { self.capacity = capacity }

    var isEmpty: Bool { next == entries.count }

    /// Whether a response of that size can still be taken.
    func hasRoom(_ byteCount: Int) -> Bool { bytes.count + byteCount <= capacity }

    /// Adds what `encode` writes into `byteCount` bytes of room; nothing is added if it returns `false`.
    mutating func append(
        to client: ClientTuple,
        room byteCount: Int,
        _ encode: (inout OutputSpan<UInt8>) -> Bool
    ) -> Bool {
        guard hasRoom(byteCount) else { return false }
        let start = bytes.count
        var isComplete = false
        bytes.append(addingCapacity: byteCount) { isComplete = encode(&$0) }
        guard isComplete else {
            bytes.removeLast(bytes.count - start)
            return false
        }
        entries.append(Entry(client: client, start: start, end: bytes.count))
        return true
    }

    /// Takes the oldest response; the output's free capacity must be at least its size.
    mutating func popFirst(into output: inout OutputSpan<UInt8>) -> (client: ClientTuple, byteCount: Int)? {
        guard next < entries.count else { return nil }
        let entry = entries[next]
        next += 1
        if output.freeCapacity >= entry.end - entry.start {
            output.append(contentsOf: bytes.span.extracting(entry.start..<entry.end))
        }
        if isEmpty {
            entries.removeAll(keepingCapacity: true)
            bytes.removeAll(keepingCapacity: true)
            next = 0
        }
        return (entry.client, entry.end - entry.start)
    }
}
