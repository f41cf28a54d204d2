import Bytes
import NetTypes
import Testing

@testable import Transport

@Suite struct FrameQueueTests {
    private static let start = Instant(nanoseconds: 1 << 40)

    /// Frames of three bytes with their number, one a millisecond.
    private func fill(_ queue: inout FrameQueue, _ numbers: Range<UInt8>, byteLimit: Int = 1 << 20) -> Int {
        numbers.reduce(into: 0) { dropped, number in
            let time = Self.start + .milliseconds(UInt64(number))
            dropped += queue.append([number, number, number].span, at: time, byteLimit: byteLimit)
        }
    }

    /// Moves everything to a connection and returns the numbers that arrive.
    private func arrivals(_ queue: inout FrameQueue) throws -> [UInt8] {
        var pair = try StreamPair.connect(.plain)
        #expect(queue.move(to: &pair.server, limit: 1 << 16))
        pair.server.flush()
        var bytes: [UInt8] = []
        while bytes.count < 3 { _ = pair.client.readAll(into: &bytes) }
        #expect(bytes.count % 3 == 0)
        return stride(from: 0, to: bytes.count, by: 3).map { bytes[$0] }
    }

    @Test func `turn 213: with too many bytes the oldest frames go and the newest stay`() throws {
        var queue = FrameQueue()
        let dropped = fill(&queue, 0..<10, byteLimit: 14)
        let count = queue.byteCount
        #expect(dropped == 6 && count == 12)
        #expect(try arrivals(&queue) == [6, 7, 8, 9])
        let isEmpty = queue.isEmpty
        #expect(isEmpty)
    }

    @Test func `turn 213: what has waited too long goes`() throws {
        var queue = FrameQueue()
        _ = fill(&queue, 0..<10)
        let none = queue.dropFrames(olderThan: Self.start)
        let some = queue.dropFrames(olderThan: Self.start + .milliseconds(7))
        #expect(none == 0 && some == 7)
        #expect(try arrivals(&queue) == [7, 8, 9])
        _ = fill(&queue, 0..<3)
        let all = queue.dropFrames(olderThan: .distantFuture)
        let isEmpty = queue.isEmpty
        #expect(all == 3 && isEmpty)
    }

    @Test func `a frame longer than the limit is not taken, and nothing goes for it`() {
        var queue = FrameQueue()
        _ = fill(&queue, 0..<2)
        let dropped = queue.append([UInt8](repeating: 1, count: 100).span, at: Self.start, byteLimit: 50)
        let count = queue.byteCount
        #expect(dropped == 1 && count == 6)
    }

    @Test(arguments: [StreamPair.Security.plain, .tls])
    func `frames are moved whole, in order, and only as far as the connection is empty`(
        security: StreamPair.Security
    ) throws {
        var queue = FrameQueue()
        for number in 0..<20 as Range<UInt8> {
            let frame = [UInt8](repeating: number, count: 1000)
            _ = queue.append(frame.span, at: Self.start, byteLimit: 1 << 20)
        }
        var pair = try StreamPair.connect(security)
        let first = queue.move(to: &pair.server, limit: 4500)
        let (waiting, left) = (pair.server.queuedBytes, queue.byteCount)
        #expect(first && left == 16_000 && waiting <= 4500)
        let again = queue.move(to: &pair.server, limit: 4500)
        #expect(!again)
        var bytes: [UInt8] = []
        while bytes.count < 20_000 {
            pair.server.flush()
            _ = queue.move(to: &pair.server, limit: 500)
            _ = pair.client.readAll(into: &bytes)
        }
        #expect(bytes == (0..<20).flatMap { [UInt8](repeating: $0, count: 1000) })
    }
}
