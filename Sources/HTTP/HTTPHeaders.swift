/// The fields of a header section in the order of the wire; names are looked up without regard to case (RFC 9110 §5).
public struct HTTPHeaders: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    /// One field line.
    public struct Field: Sendable, Equatable {
        /// The name as it was written.
        public let name: String
        /// The value without the white space around it.
        public let value: String

        /// Makes a field.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// All fields, in order.
    public private(set) var fields: [Field] = []

    /// Makes an empty section.
    public init() {}

    /// Makes a section of `name: value` pairs; the same name may come twice.
    public init(dictionaryLiteral elements: (String, String)...) {
        fields = elements.map { Field(name: $0.0, value: $0.1) }
    }

    /// Adds a field at the end, after others of the same name.
    public mutating func append(_ name: String, _ value: String) { fields.append(Field(name: name, value: value)) }

    /// The value of the first field called `name`; setting it replaces all of them, and `nil` removes them.
    public subscript(name: String) -> String? {
        get { fields.first { $0.name.equalsIgnoringCase(name) }?.value }
        set {
            fields.removeAll { $0.name.equalsIgnoringCase(name) }
            if let newValue { append(name, newValue) }
        }
    }

    /// The values of all fields called `name`.
    public func values(_ name: String) -> [String] {
        fields.filter { $0.name.equalsIgnoringCase(name) }.map(\.value)
    }

    /// The elements of a comma-separated list that may be spread over several fields (RFC 9110 §5.6.1).
    ///
    /// Only for lists whose elements have no quoted strings, such as Connection, Upgrade and Sec-WebSocket-Protocol.
    public func list(_ name: String) -> [String] {
        values(name).flatMap { value in
            value.utf8.split(separator: UInt8(ascii: ",")).compactMap { element in
                let trimmed = Array(element)[...].trimmed
                return trimmed.isEmpty ? nil : String(decoding: trimmed, as: UTF8.self)
            }
        }
    }

    /// Whether the comma-separated list called `name` has `token`, without regard to case.
    public func contains(_ token: String, in name: String) -> Bool {
        list(name).contains { $0.equalsIgnoringCase(token) }
    }
}
