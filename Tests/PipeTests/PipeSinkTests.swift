import Testing

@testable import Pipe

@Suite struct PipeSinkTests {
    @Test func `segments that overlap do not fill memory`() {
        var sink = PipeSink(limitBytes: 1000)
        let bytes = [UInt8](repeating: 7, count: 400)
        for offset in UInt64(1)..<400 where sink.hasRoom(for: offset, bytes.count, isEnd: false) {
            sink.insert(bytes, at: offset, isEnd: false)
        }
        #expect(sink.segmentBytes <= 1000)
        // The next in order is always taken, and what lies below it is forgotten.
        #expect(sink.hasRoom(for: 0, bytes.count, isEnd: false))
        sink.insert(bytes, at: 0, isEnd: false)
        #expect(sink.next == 400)
        #expect(sink.segmentBytes == 0)
    }
}
