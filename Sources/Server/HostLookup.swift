import Glibc
import NetTypes

/// Addresses of names, as the system's resolver has them.
enum HostLookup {
    /// The first address of a name, IPv4 before IPv6; waits for the resolver.
    static func address(of name: String) -> IPAddress? {
        for family in [AF_INET, AF_INET6] {
            if let address = address(of: name, family) { return address }
        }
        return nil
    }

    private static func address(of name: String, _ family: Int32) -> IPAddress? {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = family
        unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(name, nil, &hints, &list) == 0 else { return nil }
        defer { unsafe freeaddrinfo(list) }
        guard let address = unsafe list?.pointee.ai_addr else { return nil }
        // The resolver's answer is of the family that was asked for, and lives until it is freed above.
        if family == AF_INET {
            return unsafe address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                IPAddress(ipv4: UInt32(bigEndian: unsafe $0.pointee.sin_addr.s_addr))
            }
        }
        return unsafe address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { address in
            unsafe withUnsafeBytes(of: address.pointee.sin6_addr) { bytes in
                let high = unsafe UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
                let low = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                return IPAddress(ipv6: high, low)
            }
        }
    }
}
