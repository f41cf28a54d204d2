import NetTypes

/// Two addresses and two ports of one family on which a server listens for UDP, all four combinations (RFC 5780 §6).
public struct DiscoveryAddresses: Sendable, Hashable {
    /// The first address, as it is on this host and as clients see it.
    public let first: RelayAddress
    /// The second address.
    public let second: RelayAddress
    /// The first port, mostly that of STUN and TURN.
    public let firstPort: UInt16
    /// The second port.
    public let secondPort: UInt16

    /// Makes a pair of pairs; addresses and ports must differ, and the driver must listen on all four combinations.
    public init(_ first: RelayAddress, _ second: RelayAddress, firstPort: UInt16, secondPort: UInt16) {
        self.first = first
        self.second = second
        self.firstPort = firstPort
        self.secondPort = secondPort
    }

    /// Whether the addresses can tell anything.
    var isUsable: Bool {
        first.family == second.family && first.local != second.local && first.external != second.external
            && firstPort != secondPort && firstPort != 0 && secondPort != 0
    }

    /// One of the four combinations.
    struct Corner {
        let usesSecondAddress: Bool
        let usesSecondPort: Bool
    }

    /// Which of the four a client has sent to; `nil` if none.
    func corner(_ local: SocketAddress) -> Corner? {
        guard local.ip == first.local || local.ip == second.local else { return nil }
        guard local.port == firstPort || local.port == secondPort else { return nil }
        return Corner(usesSecondAddress: local.ip == second.local, usesSecondPort: local.port == secondPort)
    }

    func local(_ corner: Corner) -> SocketAddress { address(corner) { $0.local } }

    func external(_ corner: Corner) -> SocketAddress { address(corner) { $0.external } }

    private func address(_ corner: Corner, _ form: (RelayAddress) -> IPAddress) -> SocketAddress {
        SocketAddress(
            form(corner.usesSecondAddress ? second : first),
            port: corner.usesSecondPort ? secondPort : firstPort
        )
    }
}

extension DiscoveryAddresses.Corner {
    /// The corner with another address, another port, or both.
    func changed(address: Bool, port: Bool) -> Self {
        Self(usesSecondAddress: usesSecondAddress != address, usesSecondPort: usesSecondPort != port)
    }
}
