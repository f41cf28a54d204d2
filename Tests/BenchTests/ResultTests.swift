import EventLoop
import FoundationEssentials
import Instruments
import NetTypes
import Testing

@testable import Bench

@Suite struct ResultTests {
    private static func plan(_ change: (inout BenchPlan) -> Void = { _ in }) -> BenchPlan {
        let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
        var plan = BenchPlan(ServerTarget(server, .udp), username: "alice", password: "wonderland")
        change(&plan)
        return plan
    }

    private static func result(_ plan: BenchPlan) -> BenchResult {
        var result = BenchResult(plan)
        var histogram = LatencyHistogram()
        for microseconds in 1...1000 as ClosedRange<UInt64> {
            histogram.record(TimeSpan(nanoseconds: microseconds * 1000))
        }
        result.take(sent: 1010, received: 1000, corrupt: 1, reordered: 2, lost: 10, histogram)
        return result
    }

    /// The parts of the line that are of use here.
    private struct Line: Decodable {
        let label, server, transport, load, direction: String
        let clients, packetBytes, burst, window, sent, received, lost, corrupt, reordered: Int
        let packetsPerSecond: Int?
        let seconds, operationsPerSecond, ownLoad: Double
        let serverLoad, serverMicroseconds: Double?
        let p50, p90, p99, p999, max: Double?
    }

    private static func line(_ result: BenchResult) throws -> Line {
        #expect(!result.json.contains("\n"))
        return try JSONDecoder().decode(Line.self, from: Data(result.json.utf8))
    }

    @Test func `a result is one line of JSON with everything in it`() throws {
        let line = try Self.line(Self.result(Self.plan { $0.packetsPerSecond = 5000 }))
        #expect(line.server == "192.0.2.1:3478" && line.transport == "udp")
        #expect(line.load == "channels" && line.direction == "to-peers")
        #expect(
            line.sent == 1010 && line.received == 1000 && line.lost == 10 && line.corrupt == 1 && line.reordered == 2
        )
        #expect(line.packetsPerSecond == 5000 && line.clients == 100 && line.window == 512)
        #expect(line.serverLoad == nil && line.serverMicroseconds == nil)
        let middle = try #require(line.p50)
        #expect((500...515).contains(middle))
        #expect(line.max == 1000 && line.p999.map { $0 <= 1000 } == true)
    }

    @Test func `a label of any kind stays one string of one line`() throws {
        let label = "a \"quoted\" \\ label\nof two lines\u{1}"
        let line = try Self.line(BenchResult(Self.plan { $0.label = label }))
        #expect(line.label == "a \"quoted\" \\ label of two lines ")
        #expect(line.packetsPerSecond == nil && line.p50 == nil)
    }

    @Test func `rates and shares are of the measured part`() throws {
        var result = Self.result(Self.plan())
        let before = UsageReading(at: .zero + .seconds(5), server: 1_000_000, own: 0)
        let after = UsageReading(at: .zero + .seconds(7), server: 1_001_000_000, own: 500_000_000)
        result.note(before, after, operations: 1000)
        let line = try Self.line(result)
        #expect(line.seconds == 2 && line.operationsPerSecond == 500)
        #expect(line.ownLoad == 0.25 && line.serverLoad == 0.5 && line.serverMicroseconds == 1000)
        #expect(result.rows.contains { $0.0 == "rate" && $0.1 == "500 packets a second" })
        #expect(result.rows.contains { $0.0 == "generator" && $0.1 == "25 % of one processor" })
    }

    @Test func `a server that was started anew in between costs nothing rather than less`() {
        var result = BenchResult(Self.plan())
        let before = UsageReading(at: .zero, server: 900, own: 0)
        result.note(before, UsageReading(at: .zero + .seconds(1), server: 100, own: 0), operations: 3)
        #expect(result.serverLoad == 0 && result.serverTimePerOperation == .zero)
        #expect(BenchResult(Self.plan()).operationsPerSecond == 0)
    }
}
