/// Why bytes could not be read as what they were taken for.
public enum WireError: Error, Equatable, Sendable {
    /// The input ended `needed - available` bytes too early.
    case truncated(needed: Int, available: Int)
}
