public import NetTypes

/// How much and how long a client may take; each limit has an `HTTPDropReason`.
public struct HTTPLimits: Sendable {
    /// Longest request line in bytes, without its line end (RFC 9112 §3 wants at least 8000).
    public var requestLineBytes = 8192
    /// Longest header section in bytes, all field lines and trailers together, without their line ends.
    public var headBytes = 16384
    /// Most header fields.
    public var headerFields = 100
    /// Longest body in bytes.
    public var bodyBytes = 65536
    /// Most bytes kept for the requests after the one that is being answered.
    public var pipelinedBytes = 32768
    /// Most requests on one connection; the last response closes it.
    public var requests = 1000

    /// From the first byte of a request to the end of its headers, and from a connection's start to its first byte.
    public var headTime = TimeSpan.seconds(10)
    /// From the end of the headers to the end of the body.
    public var bodyTime = TimeSpan.seconds(30)
    /// From a response's end to the first byte of the next request.
    public var idleTime = TimeSpan.seconds(60)
    /// For reading a response, besides one second for each `responseBytesPerSecond`.
    public var responseTime = TimeSpan.seconds(30)
    /// The slowest rate, in bytes a second, at which a client may read a long response.
    public var responseBytesPerSecond = 4096

    /// Makes the defaults.
    public init() {}
}
