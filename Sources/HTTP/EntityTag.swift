/// A validator of a representation (RFC 9110 §8.8.3).
public struct EntityTag: Sendable, Equatable {
    /// The tag as it stands in ETag, quotes included.
    public let text: String

    /// Makes a strong tag of the content itself: 64 bits of FNV-1a and the length.
    ///
    /// Equal content has equal tags in every process. Not a defence against someone who makes contents collide.
    public init(of content: [UInt8]) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in content { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        text = "\"\(String(hash, radix: 16))-\(String(content.count, radix: 16))\""
    }

    /// Whether an If-None-Match field names this tag, compared weakly, or is `*` (RFC 9110 §13.1.2).
    public func matches(ifNoneMatch field: String) -> Bool {
        let bytes = Array(field.utf8)
        if bytes[...].trimmed.elementsEqual("*".utf8) { return true }
        // A tag may hold commas, so the list is read tag by tag, from quote to quote.
        var rest = bytes[...]
        while let open = rest.firstIndex(of: UInt8(ascii: "\"")) {
            guard let close = rest[(open + 1)...].firstIndex(of: UInt8(ascii: "\"")) else { return false }
            if rest[open...close].elementsEqual(text.utf8) { return true }
            rest = rest[(close + 1)...]
        }
        return false
    }
}
