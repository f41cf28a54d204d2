/// A code that comes line by line, as people paste it: broken into lines, with empty ones, or a wrong one first.
public struct PastedCode: Sendable {
    /// What a line has brought.
    public enum Result: Hashable, Sendable {
        /// The code.
        case code(PeerCode)
        /// The beginning of one, or nothing.
        case more
        /// What is wrong; what comes next begins anew.
        case wrong(String)
    }

    private var text = ""

    /// Whether a part of a code is there.
    public var hasBegun: Bool { !text.isEmpty }

    /// Makes one that has no line yet.
    public init() {}

    /// Takes a line; an empty one says that no more belongs to those before.
    public mutating func take(_ line: String) -> Result {
        let word = line.filter { !$0.isWhitespace }
        guard !(word.isEmpty && text.isEmpty) else { return .more }
        text += word
        do throws(PeerError) {
            return .code(try PeerCode(text))
        } catch {
            let canGrow = text.hasPrefix(PeerCode.prefix) && text.utf8.count < 65_536
            if canGrow, !word.isEmpty { return .more }
            text = ""
            return .wrong(error.description)
        }
    }
}
