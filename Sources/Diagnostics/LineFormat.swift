public import NetTypes

/// How a log line is written.
public enum LineFormat: String, Sendable, CaseIterable {
    /// For people: level, message, `key=value`.
    case human
    /// For programs: one JSON object.
    case json

    /// The line, without a line break at its end.
    ///
    /// `time` is shown as it is.
    public func line(
        time: String,
        _ level: LogLevel,
        _ message: String,
        _ metadata: KeyValuePairs<String, LogValue>,
        addresses: AddressPolicy
    ) -> String {
        switch self {
        case .human:
            var line = "\(time) \(level.description.uppercased()) \(Self.printable(message))"
            for (key, value) in metadata { line += " \(key)=\(Self.printable(value.text(addresses)))" }
            return line
        case .json:
            var line = "{\"time\":\"\(time)\",\"level\":\"\(level)\",\"message\":\(Self.quoted(message))"
            for (key, value) in metadata {
                line += ",\(Self.quoted(key)):"
                if case .number(let number) = value {
                    line += String(number)
                } else {
                    line += Self.quoted(value.text(addresses))
                }
            }
            return line + "}"
        }
    }

    // A peer may have chosen parts of a text: nothing in it may start a new line or drive a terminal.
    private static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            if isControl(scalar) {
                result += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || (0x2028...0x202E).contains(scalar.value)
            || (0x2066...0x2069).contains(scalar.value)
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where isControl(scalar):
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension LogValue {
    /// The value as text, addresses shown as `policy` has it.
    public func text(_ policy: AddressPolicy) -> String {
        switch self {
        case .text(let text): text
        case .number(let number): String(number)
        case .address(let address): address.text(policy)
        case .endpoint(let endpoint): policy == .full ? endpoint.description : endpoint.ip.text(policy)
        }
    }
}

extension IPAddress {
    /// The address as `policy` lets it be shown.
    public func text(_ policy: AddressPolicy) -> String {
        switch policy {
        case .full: description
        case .truncated:
            family == .ipv4
                ? "\(IPAddress(ipv4: ipv4Bits & 0xFFFF_FF00))/24"
                : "\(IPAddress(ipv6: high & 0xFFFF_FFFF_FFFF_0000, 0))/48"
        case .hidden: family == .ipv4 ? "ipv4" : "ipv6"
        }
    }
}
