/// Base 64 text (RFC 4648 §4 and §5).
public enum Base64 {
    /// Which of the two alphabets is meant, and whether the text is padded.
    public enum Alphabet: Sendable {
        /// `+` and `/`, padded with `=` (§4).
        case standard
        /// `-` and `_`, without padding (§5), as fit for URLs and file names.
        case url
    }

    /// The text of `bytes`.
    public static func encode(_ bytes: [UInt8], _ alphabet: Alphabet = .standard) -> String {
        var text = ""
        var index = 0
        while index < bytes.count {
            let count = min(3, bytes.count - index)
            var group: UInt32 = 0
            for position in 0..<3 {
                group = group &<< 8 | (position < count ? UInt32(bytes[index + position]) : 0)
            }
            for position in 0..<4 {
                if position <= count {
                    let value = UInt8(truncatingIfNeeded: group &>> UInt32(18 - 6 * position)) & 63
                    text.unicodeScalars.append(Unicode.Scalar(character(value, alphabet)))
                } else if alphabet == .standard {
                    text.append("=")
                }
            }
            index += count
        }
        return text
    }

    /// The bytes that `text` stands for, or `nil` if it is not in that alphabet.
    ///
    /// Padding must be as the alphabet has it.
    public static func decode(_ text: some StringProtocol, _ alphabet: Alphabet = .standard) -> [UInt8]? {
        var digits = Array(text.utf8)
        if alphabet == .standard {
            guard digits.count % 4 == 0 else { return nil }
            for _ in 0..<2 where digits.last == UInt8(ascii: "=") { digits.removeLast() }
        }
        guard digits.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        var group: UInt32 = 0
        var bits = 0
        for digit in digits {
            guard let value = value(digit, alphabet) else { return nil }
            group = group &<< 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: group &>> UInt32(bits)))
            }
        }
        // The bits that are left over belong to no byte and must be zero, so that each value has one spelling.
        return group & (1 &<< UInt32(bits) &- 1) == 0 ? bytes : nil
    }

    private static func character(_ value: UInt8, _ alphabet: Alphabet) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") + value
        case 26..<52: UInt8(ascii: "a") + value - 26
        case 52..<62: UInt8(ascii: "0") + value - 52
        case 62: UInt8(ascii: alphabet == .standard ? "+" : "-")
        default: UInt8(ascii: alphabet == .standard ? "/" : "_")
        }
    }

    private static func value(_ digit: UInt8, _ alphabet: Alphabet) -> UInt8? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): digit - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0") + 52
        case UInt8(ascii: alphabet == .standard ? "+" : "-"): 62
        case UInt8(ascii: alphabet == .standard ? "/" : "_"): 63
        default: nil
        }
    }
}
