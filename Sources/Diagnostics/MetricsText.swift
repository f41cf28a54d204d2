/// Builds a page of metrics in the Prometheus text format, version 0.0.4.
public struct MetricsText: Sendable {
    /// The kinds of metric that are written.
    public enum Kind: String, Sendable {
        /// A number that only grows; its name should end in `_total`.
        case counter
        /// A number that goes up and down.
        case gauge
    }

    /// The page so far.
    public private(set) var text = ""

    /// Starts an empty page.
    public init() {}

    /// Adds a metric with one value.
    public mutating func add(_ kind: Kind, _ name: String, _ help: String, _ value: UInt64) {
        add(kind, name, help, label: nil, [("", value)])
    }

    /// Adds a metric with a value for each value of one label; label values are of our own choosing, never a peer's.
    public mutating func add(_ kind: Kind, _ name: String, _ help: String, label: String?, _ values: [(String, UInt64)])
    {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        for (labelValue, value) in values {
            text += label.map { "\(name){\($0)=\"\(labelValue)\"} \(value)\n" } ?? "\(name) \(value)\n"
        }
    }
}
