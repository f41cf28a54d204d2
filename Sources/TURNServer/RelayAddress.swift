public import NetTypes

/// An address on which the server relays, as it is on this host and as peers see it.
public struct RelayAddress: Hashable, Sendable {
    /// The address that relay sockets are bound to.
    public let local: IPAddress
    /// The address that clients are told and that peers send to; behind a 1:1 NAT it differs from `local`.
    public let external: IPAddress

    /// Makes a relay address; without `external`, peers see the local one.
    public init(local: IPAddress, external: IPAddress? = nil) {
        self.local = local.unmapped
        self.external = (external ?? local).unmapped
    }

    /// The protocol version that is relayed on this address.
    public var family: AddressFamily { local.family }
}

/// Names one relayed transport address from the request to open it until it is closed.
///
/// A driver keeps it beside the socket and gives it back with each datagram that the socket receives.
public struct RelayID: Hashable, Sendable {
    /// The identifier as one integer, for kernel tokens.
    public let bits: UInt64

    /// Makes the identifier whose `bits` these are.
    @inlinable
    public init(bits: UInt64) { self.bits = bits }
}
