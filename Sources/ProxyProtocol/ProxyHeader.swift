public import NetTypes

/// What a proxy says about a connection that it passes on (the PROXY protocol, versions 1 and 2).
public enum ProxyHeader: Hashable, Sendable {
    /// It speaks for a client at `source`, which connected to `destination`.
    case client(source: SocketAddress, destination: SocketAddress)
    /// It speaks for itself (`LOCAL`, a health check), or does not know whom it speaks for (`UNKNOWN`): the
    /// connection's own addresses count.
    case unknown
}

/// Why bytes are no header of a proxy; raw values are for logs and tests.
public enum ProxyHeaderError: String, Error, Hashable, Sendable, CaseIterable {
    /// The first bytes are no header: a client without the proxy, or a proxy that was not told to send one.
    case absent
    /// Version 1 without an end within 107 bytes, or version 2 with more than `ProxyHeaderReader.maximumByteCount`.
    case tooLong
    /// A line of version 1 with other words than the protocol has, or with too many or too few.
    case badLine
    /// An address that is none, or not one of the family that was named.
    case badAddress
    /// A port that is no number from 0 to 65535.
    case badPort
    /// Another version than 1 and 2, or a command other than LOCAL and PROXY.
    case badCommand
    /// A family or a transport that a stream cannot have.
    case badFamily
    /// A length that leaves no room for the addresses.
    case tooShort
    /// A TLV that is longer than what is left, or a checksum that is not four bytes long.
    case badTLV
    /// A checksum that is not that of the header.
    case badChecksum
}
