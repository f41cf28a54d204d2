import NetTypes
import TestSupport
import Testing

@testable import Instruments

@Suite struct FileTransferTests {
    @Test(arguments: [0, 1, 1023, 1024, 1025, 200_000])
    func `a file of any length arrives as it is`(count: Int) {
        let file = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var sender = FileSender(file)
        var receiver = FileReceiver(byteCount: count)
        let now = Instant(nanoseconds: 1)
        while let piece = sender.nextPiece(at: now) {
            if let answer = receiver.receive(piece) { sender.receive(answer) }
        }
        #expect(sender.isDone && receiver.isComplete)
        #expect(receiver.bytes == file)
        #expect(sender.repeated == 0)
    }

    @Test(arguments: seeds(20))
    func `loss in both directions only costs time`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let file = entropy.bytes(50_000)
        var sender = FileSender(file)
        var receiver = FileReceiver(byteCount: file.count)
        var now = Instant(nanoseconds: 1)
        var rounds = 0
        while !sender.isDone, rounds < 10_000 {
            rounds += 1
            while let piece = sender.nextPiece(at: now) {
                guard entropy.next() % 3 > 0, let answer = receiver.receive(piece) else { continue }
                if entropy.next() % 3 > 0 { sender.receive(answer) }
            }
            now = sender.nextTimeout ?? now
        }
        #expect(receiver.bytes == file)
        #expect(sender.repeated > 0)
    }

    @Test func `at most a window is on its way, and noise changes nothing`() {
        var sender = FileSender(Array(repeating: 1, count: 100_000))
        let now = Instant(nanoseconds: 1)
        var count = 0
        while sender.nextPiece(at: now) != nil { count += 1 }
        #expect(count == FileSender.window)
        for noise: [UInt8] in [[], [1], [255, 255, 255, 255], [0, 0, 0, 0, 0]] { sender.receive(noise) }
        #expect(sender.nextPiece(at: now) == nil)
        var receiver = FileReceiver(byteCount: 10)
        for noise: [UInt8] in [[], [0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0, 1]] { #expect(receiver.receive(noise) == nil) }
        #expect(!receiver.isComplete)
    }
}
