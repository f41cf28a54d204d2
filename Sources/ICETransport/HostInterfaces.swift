import Connectivity
import NetTypes
import Transport

/// The interfaces of this host as sessions take them.
enum HostInterfaces {
    /// All interfaces that are up, each with its addresses; none if the system does not tell.
    static func list() -> [Connectivity.NetworkInterface] {
        let defaults = AddressFamily.allCases.compactMap { NetworkInterfaces.defaultSource($0) }
        var found: [Connectivity.NetworkInterface] = []
        for entry in (try? NetworkInterfaces.list()) ?? [] where entry.isUp {
            let address = InterfaceAddress(
                entry.address,
                prefixLength: entry.prefixLength,
                isTemporary: entry.isTemporary,
                isDeprecated: entry.isDeprecated,
                isTentative: entry.isTentative
            )
            let isDefault = defaults.contains(entry.address)
            if let place = found.firstIndex(where: { $0.index == entry.index }) {
                found[place].addresses.append(address)
                found[place].isDefaultRoute = found[place].isDefaultRoute || isDefault
                continue
            }
            let (kind, cost) = kind(of: entry)
            found.append(
                Connectivity.NetworkInterface(
                    index: entry.index,
                    name: entry.name,
                    kind: kind,
                    addresses: [address],
                    isDefaultRoute: isDefault,
                    cost: cost
                )
            )
        }
        return found
    }

    /// The kind, and the cost that goes with it: what most peers use.
    private static func kind(_ kind: Transport.NetworkInterface.Kind) -> (Connectivity.NetworkInterface.Kind, UInt16) {
        switch kind {
        case .wired: (.wired, 0)
        case .wireless: (.wireless, 10)
        case .other: (.other, 50)
        case .tunnel: (.tunnel, 50)
        case .cellular: (.cellular, 900)
        }
    }

    private static func kind(
        of entry: Transport.NetworkInterface
    ) -> (Connectivity.NetworkInterface.Kind, UInt16) {
        entry.isLoopback ? (.loopback, 0) : kind(entry.kind)
    }
}
