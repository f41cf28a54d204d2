public import NetTypes

/// An address that must not be shown: one behind a name of ours, or one that a peer's name has led to.
///
/// It has no description and no mirror, so that neither log line nor dump nor string interpolation shows it; statistics
/// and candidate lines cannot be made of it by mistake (mDNS candidates draft §3.1.2.4, §3.3.1; ice 149, 152). Whoever
/// needs the bits to bind a socket or to send a packet asks for them by name.
public struct ConcealedAddress: Hashable, Sendable, CustomReflectable {
    private let ip: IPAddress

    /// Conceals an address.
    public init(_ ip: IPAddress) { self.ip = ip }

    /// The address's protocol version, which is no secret.
    public var family: AddressFamily { ip.family }

    /// The address itself, for a socket and for nothing that a person or a page sees.
    public func revealed() -> IPAddress { ip }

    /// Shows nothing.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
