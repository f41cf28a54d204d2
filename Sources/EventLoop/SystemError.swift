import CLinux

/// An operation that the operating system refused.
public struct SystemError: Error, Equatable, Sendable {
    /// What was tried, as it follows "cannot": `start a thread`.
    public let operation: String
    /// The `errno` of the refusal.
    public let number: Int32

    /// Makes an error from an operation and its `errno`.
    public init(_ operation: String, number: Int32) {
        self.operation = operation
        self.number = number
    }

    /// The system's words for an `errno`, in lower case: `address already in use`.
    public static func text(for number: Int32) -> String {
        // The C function ends the text with a zero and writes at most the bytes it is told of.
        let characters = unsafe [CChar](unsafeUninitializedCapacity: 128) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            unsafe floe_error_text(number, start, buffer.count)
            count = unsafe buffer.firstIndex(of: 0) ?? 0
        }
        let text = String(decoding: characters.lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let first = text.first, text.dropFirst().first?.isUppercase != true else { return text }
        return first.lowercased() + text.dropFirst()
    }
}

extension SystemError: CustomStringConvertible {
    /// `cannot start a thread: resource temporarily unavailable`.
    public var description: String { "cannot \(operation): \(Self.text(for: number))" }
}
