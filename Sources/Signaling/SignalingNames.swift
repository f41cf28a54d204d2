/// The rules for the names of rooms and of peers.
public enum SignalingNames {
    /// Whether `text` names a room: 1 to 64 of the characters that need no escape in a URL (RFC 3986 §2.3).
    public static func isRoom(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.utf8.allSatisfy(isUnreserved)
    }

    /// Whether `text` can be a peer's name: not blank, not too long, and nothing in it that changes how other text looks.
    ///
    /// Refused are controls, line and paragraph separators, format characters (direction overrides among them) except
    /// the two joiners, which several scripts need, and code points that are no characters.
    public static func isPeerName(_ text: String, limits: SignalingLimits) -> Bool {
        // Bytes first: counting characters takes time in their number.
        guard text.utf8.count <= limits.nameBytes, text.count <= limits.nameCharacters else { return false }
        return text.unicodeScalars.allSatisfy(isPrintable) && text.unicodeScalars.contains(where: isVisible)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: false
        case .format: scalar.value == 0x200C || scalar.value == 0x200D
        default: true
        }
    }

    private static func isVisible(_ scalar: Unicode.Scalar) -> Bool {
        !scalar.properties.isWhitespace && !scalar.properties.isDefaultIgnorableCodePoint
    }
}
