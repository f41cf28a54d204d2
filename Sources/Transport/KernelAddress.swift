import CLinux
import NetTypes

extension floe_address {
    /// The address as the C functions take it.
    init(_ address: SocketAddress) {
        self.init(
            high: address.ip.high,
            low: address.ip.low,
            scope: address.scope,
            port: address.port,
            family: address.ip.family.rawValue,
            reserved: 0
        )
    }

    /// "No address", or an address without port.
    init(_ ip: IPAddress?) {
        guard let ip else {
            self.init()
            return
        }
        self.init(SocketAddress(ip, port: 0))
    }

    var ip: IPAddress {
        family == AddressFamily.ipv6.rawValue
            ? IPAddress(ipv6: high, low) : IPAddress(ipv4: UInt32(truncatingIfNeeded: low))
    }

    var socketAddress: SocketAddress { SocketAddress(ip, port: port, scope: scope) }
}
