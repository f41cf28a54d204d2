/// The OpaqueString profile for user names, realms and passwords (RFC 8265 §4.2).
///
/// Departure: contextual rules (RFC 5892 Appendix A) and unassigned code points are not judged; a string that only
/// they forbid is let through unchanged, so that both sides still derive the same key from the same bytes.
enum OpaqueString {
    /// Prepares a string and returns its UTF-8 bytes: other spaces become U+0020, then NFC; case stays.
    static func enforce(_ string: String, _ field: CredentialField) throws(CredentialError) -> [UInt8] {
        guard !string.isEmpty else { throw .empty(field) }
        var isASCII = true
        for scalar in string.unicodeScalars {
            if isForbidden(scalar) { throw .forbiddenCharacter(field, codePoint: scalar.value) }
            isASCII = isASCII && scalar.isASCII
        }
        let bytes = isASCII ? Array(string.utf8) : spacesMapped(string)._nfcCodeUnits
        let limit = field == .username ? STUNFormat.maximumSentTextByteCount - 1 : STUNFormat.maximumSentTextByteCount
        guard bytes.count <= limit || field == .password else {
            throw .tooLong(field, byteCount: bytes.count, limit: limit)
        }
        return bytes
    }

    private static func spacesMapped(_ string: String) -> String {
        var mapped = String.UnicodeScalarView()
        for scalar in string.unicodeScalars {
            mapped.append(scalar.properties.generalCategory == .spaceSeparator ? " " : scalar)
        }
        return String(mapped)
    }

    /// What the FreeformClass excludes (RFC 8264 §4.3): controls, ignorable code points, noncharacters, old Hangul.
    private static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
        let properties = scalar.properties
        if properties.isJoinControl { return false }
        switch scalar.value {
        case 0x1100...0x11FF, 0xA960...0xA97C, 0xD7B0...0xD7FB: return true
        default: break
        }
        return properties.generalCategory == .control || properties.isDefaultIgnorableCodePoint
            || properties.isNoncharacterCodePoint
    }
}

/// Which part of a credential an error is about.
public enum CredentialField: String, Hashable, Sendable {
    /// The user name.
    case username = "user name"
    /// The realm.
    case realm
    /// The password.
    case password
    /// A secret of the server.
    case secret
}

/// Why a credential cannot be used.
///
/// Says what is wrong, never what the credential is.
public enum CredentialError: Error, Hashable, Sendable {
    /// There is nothing in it.
    case empty(CredentialField)
    /// In UTF-8 it is longer than the attribute may be.
    case tooLong(CredentialField, byteCount: Int, limit: Int)
    /// It is too short to be a secret.
    case tooShort(CredentialField, byteCount: Int, minimum: Int)
    /// It has a character that is not allowed, such as a control.
    case forbiddenCharacter(CredentialField, codePoint: UInt32)
    /// It is derived by an algorithm that is neither MD5 nor SHA-256.
    case unknownAlgorithm(PasswordAlgorithm)
}

extension CredentialError: CustomStringConvertible {
    /// What is wrong and what to do.
    public var description: String {
        switch self {
        case .empty(let field): "the \(field.rawValue) is empty; give one"
        case .tooLong(let field, let count, let limit):
            "the \(field.rawValue) has \(count) bytes in UTF-8, at most \(limit) are allowed; choose a shorter one"
        case .tooShort(let field, let count, let minimum):
            "the \(field.rawValue) has \(count) bytes, at least \(minimum) are needed; "
                + "make one with: openssl rand -hex 32"
        case .forbiddenCharacter(let field, let codePoint):
            "the \(field.rawValue) has the character U+\(String(codePoint, radix: 16, uppercase: true)), "
                + "which is not allowed; choose one without control and invisible characters"
        case .unknownAlgorithm(let algorithm):
            "the password algorithm \(algorithm.rawValue) is not known; use 1 (MD5) or 2 (SHA-256)"
        }
    }
}
