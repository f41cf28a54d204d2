import Bytes
import NetTypes
import Testing

@testable import Bench

@Suite struct TestPayloadTests {
    private let payload = TestPayload(byteCount: 100, seed: 1)
    private let header = TestPayload.Header(flow: 7, number: 300, sentAt: Instant(nanoseconds: 5))

    private var written: [UInt8] { buildBytes(capacity: 100) { payload.write(header, into: &$0) } }

    @Test(arguments: [24, 25, 172, 1200, 60_000], [0, 1, 255, 256, UInt32.max] as [UInt32])
    func `what was written is read, and has the length of the plan`(byteCount: Int, number: UInt32) {
        let payload = TestPayload(byteCount: byteCount, seed: 3)
        let bytes = buildBytes(capacity: byteCount) {
            payload.write(.init(flow: 7, number: number, sentAt: header.sentAt), into: &$0)
        }
        guard bytes.count == byteCount, case .whole(let found) = payload.read(bytes.span) else {
            Issue.record("not whole")
            return
        }
        #expect(!found.isToClient && found.flow == 7 && found.number == number && found.sentAt == header.sentAt)
    }

    @Test(arguments: 0..<100)
    func `a changed byte is seen`(position: Int) {
        var bytes = written
        bytes[position] ^= 1
        guard case .corrupt = payload.read(bytes.span) else {
            Issue.record("byte \(position) may be changed")
            return
        }
    }

    @Test func `the direction is told apart`() {
        var back = header
        back.isToClient = true
        let bytes = buildBytes(capacity: 100) { payload.write(back, into: &$0) }
        guard case .whole(let found) = payload.read(bytes.span) else {
            Issue.record("not whole")
            return
        }
        #expect(found.isToClient && found.flow == 7)
    }

    @Test func `the body of another packet is corrupt`() {
        var found = 0
        for number in 1...256 as ClosedRange<UInt32> {
            let other = TestPayload.Header(flow: 7, number: header.number + 256 * number, sentAt: header.sentAt)
            let mixed = written.prefix(24) + buildBytes(capacity: 100) { payload.write(other, into: &$0) }.dropFirst(24)
            if case .whole = payload.read(Array(mixed).span) { found += 1 }
        }
        #expect(found < 8, "one in 256 at random")
    }

    @Test func `a payload that is too short or too long is corrupt, one of another run is foreign`() {
        for bytes in [Array(written.dropLast()), written + [0], []] {
            guard case .corrupt = payload.read(bytes.span) else {
                Issue.record("\(bytes.count) bytes are not corrupt")
                continue
            }
        }
        guard case .foreign = TestPayload(byteCount: 100, seed: 2).read(written.span) else {
            Issue.record("not foreign")
            return
        }
    }
}
