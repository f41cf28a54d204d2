extension IPAddress: CustomStringConvertible, LosslessStringConvertible {
    /// Reads dotted decimal IPv4 (four parts, no leading zeros) or IPv6 (RFC 4291 §2.2), without brackets or zone.
    public init?(_ text: String) { self.init(text: text[...]) }

    /// Reads the address that `text` is, as `init(_:)` does.
    public init?(text: some StringProtocol) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let (high, low) = Self.parseIPv6(text) else { return nil }
            self.init(ipv6: high, low)
        } else {
            guard let bits = Self.parseIPv4(text) else { return nil }
            self.init(ipv4: bits)
        }
    }

    /// The address as people write it: dotted decimal, or IPv6 in the canonical form of RFC 5952.
    public var description: String {
        if family == .ipv4 { return Self.dotted(ipv4Bits) }
        if high == 0, low &>> 32 == 0xFFFF { return "::ffff:" + Self.dotted(ipv4Bits) }
        let groups = (0..<8).map { index in
            UInt16(truncatingIfNeeded: (index < 4 ? high : low) &>> UInt64(48 - 16 * (index % 4)))
        }
        guard let zeros = Self.longestZeroRun(groups) else {
            return groups.map { String($0, radix: 16) }.joined(separator: ":")
        }
        let head = groups[..<zeros.lowerBound].map { String($0, radix: 16) }.joined(separator: ":")
        let tail = groups[zeros.upperBound...].map { String($0, radix: 16) }.joined(separator: ":")
        return head + "::" + tail
    }

    private static func dotted(_ bits: UInt32) -> String {
        "\(bits &>> 24).\(bits &>> 16 & 255).\(bits &>> 8 & 255).\(bits & 255)"
    }

    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        while start < groups.count {
            var end = start
            while end < groups.count, groups[end] == 0 { end += 1 }
            if end - start >= 2, end - start > (best?.count ?? 0) { best = start..<end }
            start = end + 1
        }
        return best
    }

    private static func parseIPv4(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            // Leading zeros are refused: some readers take them for octal.
            guard part.utf8.count <= 3, part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.utf8.count == 1 || part.utf8.first != 48, let value = UInt8(part)
            else { return nil }
            bits = bits &<< 8 | UInt32(value)
        }
        return bits
    }

    private static func parseIPv6(_ text: some StringProtocol) -> (UInt64, UInt64)? {
        var head: [UInt16] = []
        var tail: [UInt16] = []
        var compressed = false
        var rest = text[text.startIndex...]
        if rest.hasPrefix("::") {
            compressed = true
            rest = rest.dropFirst(2)
        }
        while !rest.isEmpty {
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            let part = rest[..<end]
            var groups: [UInt16] = []
            if part.utf8.contains(UInt8(ascii: ".")) {
                guard end == rest.endIndex, let bits = parseIPv4(part) else { return nil }
                groups = [UInt16(truncatingIfNeeded: bits &>> 16), UInt16(truncatingIfNeeded: bits)]
            } else {
                guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy(isHexDigit),
                    let value = UInt16(part, radix: 16)
                else { return nil }
                groups = [value]
            }
            if compressed { tail += groups } else { head += groups }
            guard head.count + tail.count <= 8 else { return nil }
            rest = rest[end...]
            guard !rest.isEmpty else { break }
            rest = rest.dropFirst()
            if rest.hasPrefix(":") {
                guard !compressed else { return nil }
                compressed = true
                rest = rest.dropFirst()
            } else if rest.isEmpty {
                return nil
            }
        }
        let count = head.count + tail.count
        guard compressed ? count <= 7 : count == 8 else { return nil }
        let groups = head + Array(repeating: 0, count: 8 - count) + tail
        let halves = [groups[..<4], groups[4...]].map { $0.reduce(UInt64(0)) { $0 &<< 16 | UInt64($1) } }
        return (halves[0], halves[1])
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...70, 97...102: true
        default: false
        }
    }
}
