import Bytes
public import ICE

/// A description with its candidates as one word that people can copy and paste.
///
/// It holds the ICE password: whoever has it can take the peer's place, so it goes over a channel that both trust.
public struct PeerCode: Hashable, Sendable {
    /// What the peer says of itself.
    public let description: ICEDescription
    /// Its candidates; those that this version does not understand are left out.
    public let candidates: [Candidate]
    /// What the text begins with: what it is, and its version.
    public static let prefix = "floe2-"

    /// Makes a code of its parts.
    public init(_ description: ICEDescription, _ candidates: [Candidate]) {
        self.description = description
        self.candidates = candidates
    }

    /// Reads a code; white space around and in it, as mail programs add it, does not matter.
    ///
    /// - Throws: `PeerError` that says what is wrong with it.
    public init(_ text: String) throws(PeerError) {
        let word = String(text.filter { !$0.isWhitespace })
        guard word.hasPrefix(Self.prefix) else {
            guard let other = Self.versionPrefix(word) else {
                throw PeerError("this is no code: a code begins with \(Self.prefix)")
            }
            throw PeerError(
                "the other end has another version of floe, whose codes begin with \(other): ours begin with \(Self.prefix)"
            )
        }
        guard let bytes = Base64.decode(String(word.dropFirst(Self.prefix.count)), .url) else {
            throw Self.damaged
        }
        let lines = String(decoding: bytes, as: UTF8.self)
        // What was cut off may leave a code that could be read, without some of the candidates.
        guard lines.hasSuffix(Self.end) else { throw Self.damaged }
        try self.init(lines: lines)
    }

    /// What codes of any version begin with.
    private static func versionPrefix(_ word: String) -> Substring? {
        let start = word.prefix(4)
        let number = word.dropFirst(4).prefix { $0.isASCII && $0.isNumber }
        let prefix = word.prefix(5 + number.count)
        return start == "floe" && (1...9).contains(number.count) && prefix.last == "-" ? prefix : nil
    }

    private static let end = "a=end-of-candidates\r\n"
    private static var damaged: PeerError { PeerError("the code is damaged: copy all of it, in one piece") }

    /// The code as a word.
    public var text: String { Self.prefix + Base64.encode(Array((lines + Self.end).utf8), .url) }

    /// The code as lines of SDP attributes, for a signaling server.
    public var lines: String {
        (description.attributeLines + candidates.map(\.text)).map { "a=\($0)" }.joined(separator: "\r\n") + "\r\n"
    }

    /// Reads what `lines` gives.
    ///
    /// - Throws: `PeerError` if the credentials are missing or malformed.
    public init(lines: String) throws(PeerError) {
        let all = lines.split(whereSeparator: \.isNewline).map(String.init)
        do throws(CandidateError) {
            description = try ICEDescription(session: all)
        } catch {
            throw PeerError("the code is damaged: \(error)")
        }
        candidates = all.compactMap { line in
            line.contains("candidate:") ? try? Candidate(text: line) : nil
        }
    }
}

/// Why two peers did not come together, in a sentence.
public struct PeerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The sentence, without its full stop.
    public let description: String

    private static let unprintable: Set<Unicode.GeneralCategory> = [
        .control, .format, .lineSeparator, .paragraphSeparator, .surrogate,
    ]

    /// Makes an error of a sentence.
    public init(_ description: String) { self.description = description }

    /// Makes an error of what another machine has said, which is not to move the cursor, turn or hide words, nor to fill the
    /// screen.
    init(said text: String) {
        description = String(
            text.unicodeScalars.filter { !Self.unprintable.contains($0.properties.generalCategory) }.prefix(200)
                .map(Character.init)
        )
    }
}
