import Bytes
import NetTypes
import Testing

@testable import Bench

@Suite struct TestPayloadTests {
    private let payload = TestPayload(byteCount: 100, seed: 1)
    private let header = TestPayload.Header(flow: 7, number: 300, sentAt: Instant(nanoseconds: 5))

    private var written: [UInt8] { buildBytes(capacity: 100) { payload.write(header, into: &$0) } }

    @Test func `what was written is read`() {
        guard case .whole(let found) = payload.read(written.span) else {
            Issue.record("not whole")
            return
        }
        #expect(found.flow == 7 && found.number == 300 && found.sentAt == header.sentAt)
    }

    @Test(arguments: [0, 3, 4, 6, 7, 8, 15, 20, 23, 24, 60, 99])
    func `a changed byte is seen`(position: Int) {
        var bytes = written
        bytes[position] ^= 1
        guard case .corrupt = payload.read(bytes.span) else {
            Issue.record("byte \(position) may be changed")
            return
        }
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
