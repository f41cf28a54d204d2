/// A mistake on the command line or in what it names: one sentence that says what is wrong and what to do.
///
/// The process prints it on standard error and ends with exit code 2.
public struct UsageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The sentence.
    public let description: String

    /// Makes an error of that sentence.
    public init(_ description: String) { self.description = description }
}
