public import NetTypes

/// How much a log line matters.
public enum LogLevel: UInt8, Comparable, Sendable, CaseIterable, LosslessStringConvertible {
    /// Every step of a protocol.
    case debug
    /// What an operator wants to see of normal work.
    case info
    /// What works, but not as it should.
    case warning
    /// What does not work.
    case error

    /// Reads the name of a level.
    public init?(_ description: String) {
        guard let level = Self.allCases.first(where: { $0.description == description }) else { return nil }
        self = level
    }

    /// The name in lower case.
    public var description: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }

    /// Whether the left level matters less.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}

/// How much of an address a log line shows.
public enum AddressPolicy: String, Sendable, CaseIterable {
    /// The whole address.
    case full
    /// IPv4 without its last 8 bits, IPv6 without its last 80; no port.
    case truncated
    /// Only the family.
    case hidden
}

/// A value beside the message of a log line.
public enum LogValue: Sendable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    /// Text of our own; control characters are escaped by the sink.
    case text(String)
    /// A number.
    case number(Int)
    /// An address, shown as the policy has it.
    case address(IPAddress)
    /// An address with its port, shown as the policy has it.
    case endpoint(SocketAddress)

    /// Makes a text.
    public init(stringLiteral value: String) { self = .text(value) }
    /// Makes a number.
    public init(integerLiteral value: Int) { self = .number(value) }
}

/// Where log lines go.
public protocol LogSink: Sendable {
    /// Writes one line. May be called from any thread.
    func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>)
}

/// Writes log lines of at least some level to a sink; the message is built only if it is written.
public struct Logger: Sendable {
    /// The least level that is written.
    public let level: LogLevel
    private let sink: (any LogSink)?

    /// Makes a logger that writes lines from `level` on to `sink`.
    public init(level: LogLevel, sink: any LogSink) {
        self.level = level
        self.sink = sink
    }

    private init() {
        level = .error
        sink = nil
    }

    /// A logger that writes nothing.
    public static let silent = Logger()

    /// Writes a line if `level` is high enough.
    ///
    /// Keys of `metadata` are dotted names such as `turn.allocation`.
    public func log(
        _ level: LogLevel,
        _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> KeyValuePairs<String, LogValue> = [:]
    ) {
        guard let sink, level >= self.level else { return }
        sink.write(level, message(), metadata())
    }

    /// Writes a line at level `debug`.
    public func debug(
        _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> KeyValuePairs<String, LogValue> = [:]
    ) { log(.debug, message(), metadata()) }

    /// Writes a line at level `info`.
    public func info(
        _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> KeyValuePairs<String, LogValue> = [:]
    ) { log(.info, message(), metadata()) }

    /// Writes a line at level `warning`.
    public func warning(
        _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> KeyValuePairs<String, LogValue> = [:]
    ) { log(.warning, message(), metadata()) }

    /// Writes a line at level `error`.
    public func error(
        _ message: @autoclosure () -> String,
        _ metadata: @autoclosure () -> KeyValuePairs<String, LogValue> = [:]
    ) { log(.error, message(), metadata()) }
}
