/// A request method (RFC 9110 §9); case-sensitive, unknown ones are kept.
public struct HTTPMethod: RawRepresentable, Hashable, Sendable {
    /// The method as it stands in the request line.
    public let rawValue: String

    /// Makes a method of any name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// Transfers a representation of the target.
    public static let get = HTTPMethod(rawValue: "GET")
    /// As GET, but only the header section is answered.
    public static let head = HTTPMethod(rawValue: "HEAD")
    /// Has the target process the content.
    public static let post = HTTPMethod(rawValue: "POST")
    /// Replaces the target with the content.
    public static let put = HTTPMethod(rawValue: "PUT")
    /// Removes the target.
    public static let delete = HTTPMethod(rawValue: "DELETE")
    /// Changes the target in part (RFC 5789).
    public static let patch = HTTPMethod(rawValue: "PATCH")
    /// Asks what can be done with the target.
    public static let options = HTTPMethod(rawValue: "OPTIONS")
    /// Asks for a tunnel; this server never opens one.
    public static let connect = HTTPMethod(rawValue: "CONNECT")
}
