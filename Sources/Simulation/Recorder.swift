public import NetTypes

/// What is written down of a run: nothing by default, since the seed can show everything again.
public struct Recorder {
    /// One thing that happened.
    public struct Entry: Sendable {
        /// What kind of thing.
        public enum What: Sendable {
            /// A program or the script has something to say.
            case note(String)
            /// A packet was put on a segment's link.
            case sent(Packet)
            /// A packet has reached its host.
            case delivered(Packet)
            /// A packet went no further.
            case dropped(Packet, NetworkDrop)
        }

        /// When it happened.
        public let time: Instant
        /// Where: a host, a gateway or a segment.
        public let place: String
        /// What it was.
        public let what: What
    }

    /// Whether notes are kept.
    public var keepsNotes = false
    /// Whether packets are kept: sent, delivered and dropped.
    public var keepsPackets = false
    /// The segments whose packets are captured; `nil` captures none, an empty set all.
    public var capturedSegments: Set<String>?
    /// What was kept, in order.
    public private(set) var entries: [Entry] = []
    /// The packets that were captured.
    public private(set) var capture = PcapFile()

    /// Makes a recorder that keeps nothing.
    public init() {}

    mutating func sent(_ packet: Packet, on segment: SimulatedSegment, at time: Instant) {
        if let names = capturedSegments, names.isEmpty || names.contains(segment.name) {
            capture.append(packet, at: time)
        }
        if keepsPackets { entries.append(Entry(time: time, place: segment.name, what: .sent(packet))) }
    }

    mutating func delivered(_ packet: Packet, _ host: String, at time: Instant) {
        if keepsPackets { entries.append(Entry(time: time, place: host, what: .delivered(packet))) }
    }

    mutating func dropped(_ packet: Packet, _ reason: NetworkDrop, _ place: String, at time: Instant) {
        if keepsPackets { entries.append(Entry(time: time, place: place, what: .dropped(packet, reason))) }
    }

    mutating func note(_ text: () -> String, _ place: String, at time: Instant) {
        if keepsNotes { entries.append(Entry(time: time, place: place, what: .note(text()))) }
    }

    /// The time since the world began, as `1.234567 s`.
    public static func seconds(_ time: Instant) -> String {
        let micros = (time - Instant(nanoseconds: 1_000_000_000)).nanoseconds / 1000
        let fraction = String(micros % 1_000_000)
        return "\(micros / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction + " s"
    }
}
