import Instruments
import NetTypes

extension BenchResult {
    /// One line of JSON; times are in microseconds.
    public var json: String {
        var fields: [(String, String)] = [
            ("label", Self.quoted(plan.label)),
            ("server", Self.quoted("\(plan.target.address)")),
            ("transport", Self.quoted(plan.target.transport.description)),
            ("load", Self.quoted(plan.load.rawValue)),
            ("direction", Self.quoted(plan.direction.rawValue)),
            ("clients", "\(plan.clients)"),
            ("packetBytes", "\(plan.packetBytes)"),
            ("burst", "\(plan.burst)"),
            ("packetsPerSecond", plan.packetsPerSecond.map { "\($0)" } ?? "null"),
            ("window", "\(plan.window)"),
            ("mergesPackets", "\(plan.mergesPackets)"),
            ("seconds", Self.rounded(Double(elapsed.nanoseconds) / 1e9, 3)),
            ("sent", "\(sent)"),
            ("received", "\(received)"),
            ("lost", "\(lost)"),
            ("corrupt", "\(corrupt)"),
            ("reordered", "\(reordered)"),
            ("operationsPerSecond", Self.rounded(operationsPerSecond, 0)),
            ("ownLoad", Self.rounded(ownLoad, 3)),
            ("serverLoad", serverLoad.map { Self.rounded($0, 3) } ?? "null"),
            ("serverMicroseconds", serverTimePerOperation.map(Self.microseconds) ?? "null"),
            ("bytesPerAllocation", bytesPerAllocation.map { "\($0)" } ?? "null"),
        ]
        for (name, time) in zip(["p50", "p90", "p99", "p999", "max"], latency) {
            fields.append((name, Self.microseconds(time)))
        }
        return "{" + fields.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    /// Lines for a person.
    public var rows: [(String, String)] {
        let what = ["allocations": "allocations", "bindings": "requests"][plan.load.rawValue] ?? "packets"
        var rows = [
            ("server", "\(plan.target.address) over \(plan.target.transport.description.uppercased())"),
            ("load", description),
            ("rate", "\(Int(operationsPerSecond)) \(what) a second"),
            ("came through", "\(received) of \(sent), \(lost) lost, \(corrupt) corrupt, \(reordered) out of order"),
        ]
        if latency.count == 5 {
            let names = ["median", "90 %", "99 %", "99.9 %", "greatest"]
            let parts = zip(names, latency).map { "\($0) \(Self.microseconds($1)) µs" }
            rows.append(("latency", parts.joined(separator: ", ")))
        }
        if let time = serverTimePerOperation, let load = serverLoad {
            let share = Int((load * 100).rounded())
            rows.append(("server", "\(Self.microseconds(time)) µs of processor time each, \(share) % of one processor"))
        }
        if let bytes = bytesPerAllocation { rows.append(("memory", "\(bytes) bytes per allocation")) }
        rows.append(("generator", "\(Int((ownLoad * 100).rounded())) % of one processor"))
        return rows
    }

    /// The load in a few words.
    public var description: String {
        switch plan.load {
        case .allocations: return "\(plan.clients) allocations"
        case .bindings: return "Binding requests of \(plan.clients) clients, \(plan.window) on their way"
        case .channels, .indications:
            let pace = plan.packetsPerSecond.map { "\($0) a second" } ?? "\(plan.window) on their way"
            return "\(plan.packetBytes) bytes, \(plan.load.rawValue), \(plan.clients) allocations, "
                + "\(plan.direction.rawValue), bursts of \(plan.burst), \(pace)"
        }
    }

    private static func microseconds(_ span: TimeSpan) -> String { rounded(Double(span.nanoseconds) / 1000, 2) }

    private static func rounded(_ value: Double, _ digits: Int) -> String {
        var factor = 1
        for _ in 0..<digits { factor *= 10 }
        let scaled = Int((value * Double(factor)).rounded())
        guard digits > 0 else { return "\(scaled)" }
        let fraction = "\(scaled % factor)"
        return "\(scaled / factor)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            case _ where scalar.value < 32: " "
            default: "\(scalar)"
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}
