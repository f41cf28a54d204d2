import FoundationEssentials

/// A bar chart of measurements, as SVG for light and dark pages.
///
/// Measurements of one load stand together, one bar for each label: the median of its rounds, with a line from the least
/// to the greatest.
public struct BenchChart: Sendable {
    /// What the bars show.
    public enum Quantity: String, Sendable, CaseIterable {
        /// The server's processor time for one packet, request or allocation.
        case processor
        /// The time that 99 % of the packets did not exceed.
        case latency
        /// The server's memory for one allocation.
        case memory
        /// Packets, requests or allocations a second.
        case rate
    }

    /// The bars of one load, in the order of the lines.
    struct Group: Equatable {
        let title: String
        var bars: [Bar]
    }

    /// The values of one label under one load.
    struct Bar: Equatable {
        let label: String
        var values: [Double]

        /// The middle value, or the mean of the two in the middle.
        var median: Double {
            let sorted = values.sorted()
            return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
        }
    }

    let quantity: Quantity
    private(set) var groups: [Group] = []

    /// Reads lines of JSON, as `floe bench --json` prints them; a field `row` names the load in place of its options.
    ///
    /// - Throws: If a line is none, or none of them has the quantity.
    public init(lines: String, of quantity: Quantity) throws(BenchError) {
        self.quantity = quantity
        for (index, line) in lines.split(separator: "\n").enumerated() {
            guard let measurement = try? JSONDecoder().decode(Measurement.self, from: Data(line.utf8)) else {
                throw BenchError("line \(index + 1) is not one that 'floe bench --json' prints")
            }
            if let value = measurement.value(of: quantity), value.isFinite, value >= 0 { add(measurement, value) }
        }
        guard !groups.isEmpty else { throw BenchError("no line has a value for '\(quantity.rawValue)'") }
    }

    private mutating func add(_ measurement: Measurement, _ value: Double) {
        let group = groups.firstIndex { $0.title == measurement.title } ?? groups.count
        if group == groups.count { groups.append(Group(title: measurement.title, bars: [])) }
        let label = measurement.label.isEmpty ? measurement.server : measurement.label
        let bar = groups[group].bars.firstIndex { $0.label == label } ?? groups[group].bars.count
        if bar == groups[group].bars.count { groups[group].bars.append(Bar(label: label, values: [])) }
        groups[group].bars[bar].values.append(value)
    }

    /// All labels, in the order of their first line; each has a colour of its own.
    var labels: [String] {
        var found: [String] = []
        for bar in groups.flatMap(\.bars) where !found.contains(bar.label) { found.append(bar.label) }
        return found
    }
}

/// One line of JSON, as far as charts need it.
private struct Measurement: Decodable {
    let label: String
    let server: String
    let load: String
    let direction: String
    let clients: Int
    let packetBytes: Int
    let burst: Int
    let packetsPerSecond: Int?
    let operationsPerSecond: Double
    let serverMicroseconds: Double?
    let bytesPerAllocation: Double?
    let p99: Double?
    let row: String?

    var title: String {
        if let row { return row }
        switch load {
        case "allocations": return "\(clients) allocations"
        case "bindings": return "Binding requests of \(clients) clients"
        default:
            let pace = packetsPerSecond.map { ", \($0) a second" } ?? ""
            let bursts = burst > 1 ? ", bursts of \(burst)" : ""
            return "\(packetBytes) bytes in \(load), \(clients) allocations, \(direction)\(bursts)\(pace)"
        }
    }

    func value(of quantity: BenchChart.Quantity) -> Double? {
        switch quantity {
        case .processor: serverMicroseconds
        case .latency: p99
        case .memory: bytesPerAllocation
        case .rate: operationsPerSecond
        }
    }
}
