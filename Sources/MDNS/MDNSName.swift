public import NetTypes

/// A name of one label in `.local`, such as stands in a candidate in place of an address; in lower case.
///
/// Names with more dots are none of these and are never asked for (mDNS candidates draft §3.2.1, ice 150).
public struct MDNSName: Hashable, Sendable {
    /// What stands before `.local`, 1 to 63 letters, digits and hyphens.
    public let label: String

    /// Reads `label.local`; `nil` for everything else.
    public init?(_ text: some StringProtocol) {
        let lower = text.lowercased()
        guard lower.hasSuffix(".local") else { return nil }
        self.init(label: lower.utf8.dropLast(6))
    }

    /// Makes a name of a label's bytes.
    init?(label bytes: some Collection<UInt8>) {
        guard (1...63).contains(bytes.count) else { return nil }
        var lower: [UInt8] = []
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
                lower.append(byte)
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): lower.append(byte | 0x20)
            default: return nil
            }
        }
        label = String(decoding: lower, as: UTF8.self)
    }

    /// Draws a new name: a UUID of version 4 (ice 145); `Entropy.system` for everything that goes to a network.
    public static func random(using entropy: inout Entropy) -> MDNSName {
        let high = entropy.next() & ~0xF000 | 0x4000
        let low = entropy.next() & ~(3 << 62) | 1 << 63
        let digits = hex(high) + hex(low)
        var label = ""
        for (index, digit) in digits.enumerated() {
            if [8, 12, 16, 20].contains(index) { label.append("-") }
            label.append(digit)
        }
        return MDNSName(unchecked: label)
    }

    private init(unchecked label: String) { self.label = label }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Whether the label has the form of a UUID, as the names of candidates have; no others are resolved (ice 151).
    public var isUUID: Bool {
        guard label.utf8.count == 36 else { return false }
        return label.utf8.enumerated().allSatisfy { index, byte in
            switch index {
            case 8, 13, 18, 23: byte == UInt8(ascii: "-")
            default: byte != UInt8(ascii: "-") && (byte < UInt8(ascii: "g"))
            }
        }
    }
}

extension MDNSName: Comparable {
    /// Whether the left label comes first.
    public static func < (left: MDNSName, right: MDNSName) -> Bool { left.label < right.label }
}

extension MDNSName: CustomStringConvertible {
    /// The name as it stands in a candidate.
    public var description: String { label + ".local" }
}
