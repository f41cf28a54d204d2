import Bytes

/// The bytes on their way to the client: heads, and one content that is not copied.
struct ResponseOutput {
    private var head: [UInt8] = []
    private var body: [UInt8] = []
    private var sent = 0

    var count: Int { head.count + body.count - sent }
    var isEmpty: Bool { count == 0 }

    /// Queues an interim response.
    mutating func start(_ text: String) { head.append(contentsOf: text.utf8) }

    /// Queues a response, behind an interim one that was not taken yet.
    mutating func start(
        _ response: HTTPResponse,
        unixSeconds: UInt64,
        keepsAlive: Bool,
        isHead: Bool,
        clientMinorVersion: Int
    ) {
        response.appendHead(
            to: &head,
            unixSeconds: unixSeconds,
            keepsAlive: keepsAlive,
            clientMinorVersion: clientMinorVersion
        )
        body = isHead || response.status.forbidsContent ? [] : response.body
    }

    /// Moves bytes out, as many as fit.
    mutating func drain(into bytes: inout OutputSpan<UInt8>) -> Int {
        let before = sent
        if sent < head.count { sent += Self.copy(head, from: sent, into: &bytes) }
        if sent >= head.count { sent += Self.copy(body, from: sent - head.count, into: &bytes) }
        let count = sent - before
        if isEmpty {
            head.removeAll(keepingCapacity: true)
            body = []
            sent = 0
        }
        return count
    }

    private static func copy(_ source: [UInt8], from start: Int, into bytes: inout OutputSpan<UInt8>) -> Int {
        let count = min(source.count - start, bytes.freeCapacity)
        bytes.append(contentsOf: source.span.extracting(start..<start + count))
        return count
    }
}
