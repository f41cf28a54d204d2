import NetTypes
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

    @Test func `news of room is told again until something comes`() {
        var sink = PipeSink(limitBytes: 1000)
        _ = sink.insert(0, at: .zero)
        sink.insert([UInt8](repeating: 7, count: 1000), at: 0, isEnd: false)
        _ = sink.acknowledgement([], at: .zero)
        #expect(sink.acknowledgeAt == nil)
        #expect(sink.readable.count == 1000)
        sink.consume(1000)
        let later = [200, 600, 1400].map { Instant.zero + .milliseconds($0) }
        _ = sink.acknowledgement([], at: .zero)
        for time in later {
            #expect(sink.acknowledgeAt == time)
            _ = sink.acknowledgement([], at: time)
        }
        _ = sink.insert(1, at: later[2])
        _ = sink.acknowledgement([], at: later[2])
        #expect(sink.acknowledgeAt == nil)
    }
}
