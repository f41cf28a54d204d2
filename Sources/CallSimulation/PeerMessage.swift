public import ICE

/// What two simulated peers tell each other over the signaling channel: a few lines of text.
public struct PeerMessage: Sendable, Hashable {
    /// The sender's description, if this is an offer or an answer.
    public var description: ICEDescription?
    /// The sender's candidates.
    public var candidates: [Candidate] = []
    /// The fragment of the generation of which no more candidates will come.
    public var endOf: String?
    /// Whether the receiver is asked to restart.
    public var wantsRestart = false

    /// Makes an empty message.
    public init() {}

    /// The bytes of the message.
    public var bytes: [UInt8] {
        var lines = description?.attributeLines ?? []
        lines += candidates.map(\.text)
        if let endOf { lines.append("end-of-candidates " + endOf) }
        if wantsRestart { lines.append("restart") }
        return Array(lines.joined(separator: "\n").utf8)
    }

    /// Reads a message; lines that are none of these are passed over.
    public init(_ bytes: [UInt8]) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        description = try? ICEDescription(session: lines)
        candidates = lines.compactMap { $0.hasPrefix("candidate:") ? try? Candidate(text: $0) : nil }
        endOf = lines.first { $0.hasPrefix("end-of-candidates ") }.map { String($0.dropFirst(18)) }
        wantsRestart = lines.contains("restart")
    }
}
