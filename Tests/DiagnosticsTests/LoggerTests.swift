import Diagnostics
import NetTypes
import Synchronization
import Testing

@Suite struct LoggerTests {
    private final class Recorder: LogSink {
        let lines = Mutex<[String]>([])
        func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>) {
            let line = LineFormat.human.line(time: "T", level, message, metadata, addresses: .full)
            lines.withLock { $0.append(line) }
        }
    }

    @Test func `lines below the level are not even built`() {
        let recorder = Recorder()
        let logger = Logger(level: .warning, sink: recorder)
        var built = 0
        func message() -> String {
            built += 1
            return "m"
        }
        logger.info(message())
        logger.warning(message(), ["peer.port": 5])
        Logger.silent.error(message())
        #expect(built == 1)
        #expect(recorder.lines.withLock { $0 } == ["T WARNING m peer.port=5"])
    }

    @Test func `nothing that a peer chose can break a line`() {
        let metadata: KeyValuePairs<String, LogValue> = ["name": .text("a\n\u{1B}[31m\"\\\u{202E}")]
        let human = LineFormat.human.line(time: "T", .info, "x", metadata, addresses: .full)
        #expect(human == "T INFO x name=a\\u{a}\\u{1b}[31m\"\\\\u{202e}")
        let json = LineFormat.json.line(time: "T", .info, "x", metadata, addresses: .full)
        #expect(json == #"{"time":"T","level":"info","message":"x","name":"a\u000a\u001b[31m\"\\\u202e"}"#)
    }

    @Test func `addresses are shown by policy`() throws {
        let endpoint = LogValue.endpoint(try #require(SocketAddress("192.0.2.77:99")))
        #expect(endpoint.text(.full) == "192.0.2.77:99")
        #expect(endpoint.text(.truncated) == "192.0.2.0/24")
        #expect(endpoint.text(.hidden) == "ipv4")
        let address = LogValue.address(try #require(IPAddress("2001:db8:1:2::3")))
        #expect(address.text(.truncated) == "2001:db8:1::/48")
    }

    @Test func `metrics are in the text format`() {
        var page = MetricsText()
        page.add(.gauge, "floe_rooms", "Rooms that exist now.", 3)
        page.add(.counter, "floe_drops_total", "Drops.", label: "reason", [("a", 1), ("b", 2)])
        #expect(
            page.text == """
                # HELP floe_rooms Rooms that exist now.
                # TYPE floe_rooms gauge
                floe_rooms 3
                # HELP floe_drops_total Drops.
                # TYPE floe_drops_total counter
                floe_drops_total{reason="a"} 1
                floe_drops_total{reason="b"} 2

                """
        )
    }

    private enum Reason: String, DropReason { case short, strange }

    @Test func `drops are counted by reason`() {
        var counters = DropCounters<Reason>()
        counters.count(.strange)
        counters.count(.strange)
        #expect(counters.all.map(\.name) == ["short", "strange"])
        #expect(counters.all.map(\.count) == [0, 2])
    }
}
