import Glibc
import NetTypes
import Testing
import WebSocket

@Suite("WebSocket memory")
struct WebSocketMemoryTests {
    // In a process of its own, where nothing else allocates.
    @Test
    func `does not grow with the number of messages or of connections`() async {
        await #expect(processExitsWith: .success) {
            let (client, server) = (TestEnd(.client), TestEnd())
            let payload = [UInt8](repeating: 1, count: 50_000)
            func exchange(_ count: Int) {
                for _ in 0..<count {
                    _ = client.engine.send(binary: payload)
                    server.feed(client.output(step: 16384))
                    for case .binary(let bytes) in server.events() { _ = server.engine.send(binary: bytes) }
                    client.feed(server.output(step: 16384))
                    _ = client.events()
                }
            }
            func connect(_ count: Int) {
                for _ in 0..<count {
                    let end = TestEnd()
                    end.feed(Frame.text("hello"))
                    end.feed(Frame.close(1000))
                }
            }
            exchange(10)
            connect(10)
            let before = peakKilobytes()
            // 25 MB each way, and 40 MB of frame contexts.
            exchange(500)
            connect(10_000)
            #expect(before > 1000)
            #expect(peakKilobytes() - before < 8000)
        }
    }
}

/// The most memory that this process has had, in kilobytes.
private func peakKilobytes() -> Int {
    var usage = rusage()
    guard unsafe getrusage(RUSAGE_SELF.rawValue, &usage) == 0 else { return 0 }
    return usage.ru_maxrss
}
