/// Host names as certificates and TLS clients spell them (RFC 6125 §6.4, RFC 6066 §3).
enum HostName {
    /// The name in lower case and without a final dot, or `nil` if it is not one; a first label of `*` is allowed.
    static func normalized(_ bytes: some Collection<UInt8>) -> String? {
        var bytes = bytes.map { 0x41...0x5A ~= $0 ? $0 + 0x20 : $0 }
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        guard (1...253).contains(bytes.count) else { return nil }
        let labels = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        for (index, label) in labels.enumerated() {
            if index == 0, label.elementsEqual("*".utf8), labels.count > 1 { continue }
            guard (1...63).contains(label.count), label.allSatisfy(isHostCharacter) else { return nil }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The pattern that would cover `name`: its first label replaced by `*`.
    static func wildcard(covering name: String) -> String? {
        guard let dot = name.utf8.firstIndex(of: UInt8(ascii: ".")) else { return nil }
        return "*" + name[dot...]
    }

    // The underscore is not of host names, but it is in names that people have.
    private static func isHostCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
