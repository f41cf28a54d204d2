import NetTypes
import Simulation

/// Calls between all kinds of NAT, as tables.
public struct CallMatrix: Sendable {
    /// One row: the offerer's kind, and how it fared with each answerer's.
    public struct Row: Sendable {
        /// The offerer's kind.
        public let name: String
        /// One result for each kind.
        public let results: [CallRun.Result]
    }

    /// The kinds, which are also the columns.
    public let kinds: [Access]
    /// The rows.
    public let rows: [Row]

    /// Runs all pairs of these kinds of access.
    public init(
        _ kinds: [Access] = Access.everyKind,
        seed: UInt64 = 1,
        _ change: (inout CallRun) -> Void = { _ in }
    ) {
        self.kinds = kinds
        rows = kinds.enumerated().map { row, left in
            Row(
                name: left.name,
                results: kinds.enumerated().map { column, right in
                    var run = CallRun(left, right)
                    change(&run)
                    return run.run(seed: seed &+ UInt64(row * kinds.count + column))
                }
            )
        }
    }

    /// How many events all runs took together.
    public var eventCount: UInt64 { rows.reduce(0) { $0 + $1.results.reduce(0) { $0 + $1.eventCount } } }

    /// A table in Markdown: from the answerer's start until both sides have a direct path, over the floor; - if relayed.
    ///
    /// Each cell is the time of a call with the default delays in milliseconds, a stroke, and what `PathFloor` says. Only
    /// for hosts behind one NAT at most.
    public var floorText: String {
        table { row, column in
            let floor = PathFloor(kinds[row].gateway?.nat, kinds[column].gateway?.nat)
            guard let measured = rows[row].results[column].bothDirect, let least = floor.bothPaths else { return "-" }
            return "\(measured.milliseconds)/\(least.milliseconds)"
        }
    }

    /// A table in Markdown: D direct, R relayed, - not connected, each with the milliseconds until both sides had a path.
    public var text: String {
        table { row, column in
            let result = rows[row].results[column]
            guard result.isConnected, let both = result.bothPaths else { return "-" }
            return "\(result.isDirect ? "D" : "R") \(both.milliseconds)"
        }
    }

    private func table(_ cell: (Int, Int) -> String) -> String {
        var text = "| from \\ to | " + kinds.map(\.name).joined(separator: " | ") + " |\n"
        text += "|---|" + String(repeating: "---|", count: kinds.count) + "\n"
        for (row, entry) in rows.enumerated() {
            let cells = kinds.indices.map { cell(row, $0) }
            text += "| \(entry.name) | " + cells.joined(separator: " | ") + " |\n"
        }
        return text
    }
}
