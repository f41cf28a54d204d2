import CLinux
public import EventLoop
public import NetTypes

/// One address of one network interface.
public struct NetworkInterface: Hashable, Sendable {
    /// The interface's name, such as `eth0`.
    public let name: String
    /// The interface's number, the scope of its link-local addresses.
    public let index: UInt32
    /// The address.
    public let address: IPAddress
    /// How many leading bits of the address are the network's.
    public let prefixLength: Int
    /// Whether the interface is switched on and has a carrier.
    public let isUp: Bool
    /// Whether it leads back to this host.
    public let isLoopback: Bool
    /// What it leads over.
    public let kind: Kind
    /// Whether the address was made up for a while (RFC 8981).
    public let isTemporary: Bool
    /// Whether the address is to be used for nothing new.
    public let isDeprecated: Bool
    /// Whether the address is not yet known to be unique.
    public let isTentative: Bool

    /// What an interface leads over, as far as the system tells.
    public enum Kind: UInt8, Hashable, Sendable {
        /// Unknown.
        case other = 0
        /// Ethernet.
        case wired = 1
        /// Wi-Fi.
        case wireless = 2
        /// A mobile network.
        case cellular = 3
        /// A tunnel.
        case tunnel = 4
    }
}

/// The interfaces of this host.
public enum NetworkInterfaces {
    /// All addresses of all interfaces, in the system's order.
    ///
    /// - Throws: If the system does not tell.
    public static func list() throws(SystemError) -> [NetworkInterface] {
        var capacity = 64
        while true {
            var entries = [floe_interface](repeating: floe_interface(), count: capacity)
            // The C function fills at most `capacity` elements.
            let count = unsafe floe_list_interfaces(&entries, Int32(capacity))
            guard count >= 0 else { throw SystemError("list the network interfaces", number: -count) }
            if Int(count) <= capacity { return entries.prefix(Int(count)).map { NetworkInterface($0) } }
            capacity = Int(count) * 2
        }
    }
}

extension NetworkInterface {
    fileprivate init(_ entry: floe_interface) {
        // A tuple of 16 characters, the last one a zero.
        name = unsafe withUnsafeBytes(of: entry.name) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        index = entry.index
        address = entry.address.ip
        prefixLength = Int(entry.prefix_length)
        isUp = entry.is_up != 0
        isLoopback = entry.is_loopback != 0
        kind = Kind(rawValue: entry.kind) ?? .other
        isTemporary = entry.flags & FLOE_ADDRESS_TEMPORARY != 0
        isDeprecated = entry.flags & FLOE_ADDRESS_DEPRECATED != 0
        isTentative = entry.flags & FLOE_ADDRESS_TENTATIVE != 0
    }
}

extension NetworkInterfaces {
    /// The address that packets to the Internet leave from, by the routing table; `nil` without a route.
    public static func defaultSource(_ family: AddressFamily) -> IPAddress? {
        // Addresses that are global and nobody's: of the retired 6to4 relay anycast, and the first of 2000::/3.
        source(toward: family == .ipv4 ? IPAddress(ipv4: 0xC058_6301) : IPAddress(ipv6: 0x2000_0000_0000_0000, 1))
    }

    /// The address that packets to `target` leave from, by the routing table; `nil` without a route.
    ///
    /// A socket is connected, which asks the table and sends nothing.
    public static func source(toward target: IPAddress) -> IPAddress? {
        let family = Int32(target.family.rawValue)
        guard let socket = try? Descriptor(floe_udp_create(family), "ask for a route") else { return nil }
        var remote = floe_address(SocketAddress(target, port: 9))
        var local = floe_address()
        // The C functions use the pointers during the calls only.
        guard unsafe floe_connect(socket.number, family, &remote) >= 0,
            unsafe floe_local_address(socket.number, &local) >= 0
        else { return nil }
        let address = local.socketAddress.ip
        return address.isUnspecified ? nil : address
    }
}

extension NetworkInterfaces {
    /// The router of the default route over an interface, by the routing table; `nil` if there is none.
    public static func gateway(_ family: AddressFamily, of interface: UInt32) -> SocketAddress? {
        var found = floe_address()
        // The C function fills the structure during the call only.
        guard unsafe floe_default_gateway(Int32(family.rawValue), interface, &found) == 1 else { return nil }
        return found.socketAddress
    }
}

/// Tells when links, addresses or routes of this host change.
public struct NetworkChanges: ~Copyable {
    private let owned: Descriptor

    /// Begins to watch.
    ///
    /// - Throws: If the system does not permit it or the process has no descriptor left.
    public init() throws(SystemError) {
        owned = try Descriptor(floe_route_monitor_create(), "watch the network interfaces")
    }

    /// Readable when something has changed.
    public var descriptor: Int32 { owned.number }

    /// Forgets what has changed up to now; returns whether anything has.
    public func clear() -> Bool { floe_route_monitor_clear(owned.number) > 0 }
}
