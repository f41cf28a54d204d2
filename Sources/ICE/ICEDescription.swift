public import NetTypes

/// A user name fragment and a password (RFC 8445 §5.3, RFC 8839 §5.4).
public struct ICECredentials: Hashable, Sendable {
    /// 4 to 256 ice-chars.
    public let usernameFragment: String
    /// 22 to 256 ice-chars; a secret.
    public let password: String

    /// Draws new ones: 48 random bits for the fragment, 144 for the password (ice 25).
    public init(using entropy: inout Entropy) {
        self.init(drawing: { entropy.next() })
    }

    init(drawing word: () -> UInt64) {
        usernameFragment = Self.text(8, word)
        password = Self.text(24, word)
    }

    /// Takes credentials that were signalled.
    ///
    /// - Throws: `CandidateError.badUsernameFragment` or `.badPassword`.
    public init(usernameFragment: String, password: String) throws(CandidateError) {
        guard isICEText(usernameFragment, count: 4...256) else { throw .badUsernameFragment }
        guard isICEText(password, count: 22...256) else { throw .badPassword }
        self.usernameFragment = usernameFragment
        self.password = password
    }

    private static func text(_ count: Int, _ draw: () -> UInt64) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var bytes: [UInt8] = []
        var word: UInt64 = 0
        for index in 0..<count {
            if index % 8 == 0 { word = draw() }
            bytes.append(alphabet[Int(word & 63)])
            word &>>= 8
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension ICECredentials: CustomStringConvertible, CustomReflectable {
    /// Names the fragment; never the password.
    public var description: String { "ICECredentials(\(usernameFragment))" }
    /// Shows the fragment only.
    public var customMirror: Mirror { Mirror(self, children: ["usernameFragment": usernameFragment]) }
}

/// What an agent can do (`ice-options`, RFC 8839 §5.6).
public struct ICEOptions: OptionSet, Hashable, Sendable {
    /// One bit per option.
    public let rawValue: UInt8

    /// Makes a set from its bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Candidates may follow one by one (RFC 8838 §3).
    public static let trickle = ICEOptions(rawValue: 1)
    /// RFC 8445, not RFC 5245: no aggressive nomination (RFC 8445 §10).
    public static let ice2 = ICEOptions(rawValue: 2)
    /// The controlling agent may nominate again.
    public static let renomination = ICEOptions(rawValue: 4)

    private static let names: [(ICEOptions, String)] = [
        (.ice2, "ice2"), (.trickle, "trickle"), (.renomination, "renomination"),
    ]

    /// Reads the value of `ice-options`; names that are not known are left out.
    public init(text: some StringProtocol) {
        let words = text.split(separator: " ")
        self = Self.names.reduce(into: []) { options, entry in
            if words.contains(where: { $0 == entry.1 }) { options.insert(entry.0) }
        }
    }

    /// The value of `ice-options`.
    public var text: String { Self.names.filter { contains($0.0) }.map(\.1).joined(separator: " ") }
}

/// What one side says of itself, apart from its candidates.
public struct ICEDescription: Hashable, Sendable {
    /// Fragment and password.
    public var credentials: ICECredentials
    /// What it can do.
    public var options: ICEOptions
    /// Whether it only answers checks (RFC 8445 §2.5).
    public var isLite: Bool
    /// How far apart it wants checks; `nil` stands for 50 ms (RFC 8839 §5.5).
    public var pacing: TimeSpan?

    /// Makes a description.
    public init(
        credentials: ICECredentials,
        options: ICEOptions = [],
        isLite: Bool = false,
        pacing: TimeSpan? = nil
    ) {
        self.credentials = credentials
        self.options = options
        self.isLite = isLite
        self.pacing = pacing
    }

    /// The attribute lines, without `a=`; `ice-lite` and `ice-pacing` belong to the session level only (ice 116).
    public var attributeLines: [String] {
        var lines: [String] = []
        if isLite { lines.append("ice-lite") }
        if let pacing { lines.append("ice-pacing:\(pacing.milliseconds)") }
        lines.append("ice-ufrag:\(credentials.usernameFragment)")
        lines.append("ice-pwd:\(credentials.password)")
        if !options.isEmpty { lines.append("ice-options:\(options.text)") }
        return lines
    }

    /// Reads a description out of attribute lines, with or without `a=`; others are passed over.
    ///
    /// Lines of the media level win over those of the session (RFC 8839 §5.4; ice 111), options of both count together.
    /// - Throws: `CandidateError` if fragment or password is missing or malformed, or pacing is no number.
    public init(session: [String], media: [String] = []) throws(CandidateError) {
        let upper = session.map(Self.attribute)
        let lower = media.map(Self.attribute)
        func value(_ name: String) -> Substring? {
            lower.first { $0.name == name }?.value ?? upper.first { $0.name == name }?.value
        }
        guard let fragment = value("ice-ufrag") else { throw .badUsernameFragment }
        guard let password = value("ice-pwd") else { throw .badPassword }
        credentials = try ICECredentials(usernameFragment: String(fragment), password: String(password))
        options = (upper + lower).filter { $0.name == "ice-options" }.reduce(into: []) {
            $0.formUnion(ICEOptions(text: $1.value))
        }
        isLite = upper.contains { $0.name == "ice-lite" }
        if let text = upper.first(where: { $0.name == "ice-pacing" })?.value {
            guard let number: UInt64 = decimal(text, digits: 10) else { throw .badNumber }
            pacing = .milliseconds(number)
        }
    }

    private static func attribute(_ line: String) -> (name: Substring, value: Substring) {
        var rest = line[...]
        if rest.hasPrefix("a=") { rest = rest.dropFirst(2) }
        while let last = rest.last, last.isWhitespace { rest = rest.dropLast() }
        guard let colon = rest.firstIndex(of: ":") else { return (rest, "") }
        return (rest[..<colon], rest[rest.index(after: colon)...])
    }
}
