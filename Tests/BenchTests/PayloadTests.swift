import Bytes
import NetTypes
import TestSupport
import Testing

@testable import Bench

@Suite struct PayloadTests {
    private static func written(_ payload: TestPayload, _ header: TestPayload.Header) -> [UInt8] {
        buildBytes(capacity: payload.byteCount) { payload.write(header, into: &$0) }
    }

    private static func read(_ payload: TestPayload, _ bytes: [UInt8]) -> TestPayload.Header? {
        payload.read(bytes.span)
    }

    @Test(arguments: [24, 25, 172, 1200, 60_000])
    func `what is written is read, and has the length of the plan`(byteCount: Int) throws {
        let payload = TestPayload(byteCount: byteCount, seed: 3)
        for number in [0, 1, 255, 256, UInt32.max] as [UInt32] {
            let bytes = Self.written(payload, .init(flow: 7, number: number, sentAt: Instant(nanoseconds: 99)))
            #expect(bytes.count == byteCount)
            let header = try #require(Self.read(payload, bytes))
            #expect(header.flow == 7 && header.number == number && header.sentAt == Instant(nanoseconds: 99))
        }
    }

    @Test func `a changed byte of mark or pattern, another length and another run are corrupt`() {
        let payload = TestPayload(byteCount: 64, seed: 3)
        let header = TestPayload.Header(flow: 1, number: 2, sentAt: .zero)
        let bytes = Self.written(payload, header)
        for index in 16..<64 {
            var changed = bytes
            changed[index] ^= 1
            #expect(Self.read(payload, changed) == nil, "byte \(index)")
        }
        #expect(Self.read(payload, Array(bytes.prefix(63))) == nil)
        #expect(Self.read(payload, bytes + [0]) == nil)
        #expect(Self.read(payload, []) == nil)
        #expect(Self.read(TestPayload(byteCount: 64, seed: 4), bytes) == nil)
    }

    @Test func `a packet under another packet's number is corrupt`() {
        let payload = TestPayload(byteCount: 64, seed: 3)
        var bytes = Self.written(payload, .init(flow: 1, number: 2, sentAt: .zero))
        bytes[7] = 3
        #expect(Self.read(payload, bytes) == nil)
    }
}
