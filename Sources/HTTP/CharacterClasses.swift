/// The character classes of RFC 9110 §5.6.2 and RFC 3986 §2 that the parsers ask for.
extension UInt8 {
    var isDigit: Bool { self >= UInt8(ascii: "0") && self <= UInt8(ascii: "9") }

    var isAlpha: Bool { (self | 0x20) >= UInt8(ascii: "a") && (self | 0x20) <= UInt8(ascii: "z") }

    /// `tchar`: what methods and field names are made of.
    var isTokenCharacter: Bool {
        if isDigit || isAlpha { return true }
        switch self {
        case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
            UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
            return true
        default: return false
        }
    }

    /// `unreserved` or `sub-delims`: what host names are made of, apart from percent triplets.
    var isNameCharacter: Bool {
        if isDigit || isAlpha { return true }
        switch self {
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "!"),
            UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "("), UInt8(ascii: ")"),
            UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "="):
            return true
        default: return false
        }
    }

    /// What may stand unescaped in a path.
    var isPathCharacter: Bool {
        isNameCharacter || self == UInt8(ascii: "/") || self == UInt8(ascii: ":") || self == UInt8(ascii: "@")
    }

    // Departure: RFC 3986 §3.4 wants these escaped too, but browsers send { | } ^ ` [ ] \ in queries as they are.
    /// What may stand unescaped in a query: every visible character except `"`, `#`, `<` and `>`.
    var isQueryCharacter: Bool {
        self > 0x20 && self < 0x7F && self != UInt8(ascii: "#") && self != UInt8(ascii: "\"")
            && self != UInt8(ascii: "<") && self != UInt8(ascii: ">")
    }

    var isWhitespace: Bool { self == 0x20 || self == 0x09 }

    var lowercased: UInt8 { self >= UInt8(ascii: "A") && self <= UInt8(ascii: "Z") ? self | 0x20 : self }

    var hexValue: UInt8? {
        if isDigit { return self - UInt8(ascii: "0") }
        let lower = self | 0x20
        return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "f") ? lower - UInt8(ascii: "a") + 10 : nil
    }
}

extension ArraySlice<UInt8> {
    /// The slice without spaces and tabs at its ends (`OWS`).
    var trimmed: ArraySlice<UInt8> {
        var slice = self
        while slice.first?.isWhitespace == true { slice.removeFirst() }
        while slice.last?.isWhitespace == true { slice.removeLast() }
        return slice
    }

    /// Whether the bytes begin with `prefix`, but for the case of ASCII letters.
    func hasPrefix(ignoringCase prefix: String) -> Bool {
        count >= prefix.utf8.count && zip(self, prefix.utf8).allSatisfy { $0.lowercased == $1.lowercased }
    }

    /// Whether each `%` begins a triplet and every other byte satisfies `allowed`.
    func isPercentEncoded(_ allowed: (UInt8) -> Bool) -> Bool {
        var index = startIndex
        while index < endIndex {
            if self[index] == UInt8(ascii: "%") {
                guard index + 2 < endIndex, self[index + 1].hexValue != nil, self[index + 2].hexValue != nil else {
                    return false
                }
                index += 3
            } else {
                guard allowed(self[index]) else { return false }
                index += 1
            }
        }
        return true
    }
}

extension StringProtocol {
    /// Whether both texts are the same but for the case of ASCII letters, as names and tokens are compared in HTTP.
    func equalsIgnoringCase(_ other: some StringProtocol) -> Bool {
        let (left, right) = (utf8, other.utf8)
        return left.count == right.count && zip(left, right).allSatisfy { $0.lowercased == $1.lowercased }
    }
}
