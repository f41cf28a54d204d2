import Glibc
public import NetTypes

/// Finds the addresses of a host as the system's resolver does; waits for it, so it is for tools, not for loops.
public enum HostLookup {
    /// Why a host has no address for us.
    public struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
        /// What the resolver says.
        public let description: String
    }

    /// The addresses of a name, best first (RFC 6724), each once; an address in text form is its own.
    ///
    /// - Throws: `Failure` with the resolver's words.
    public static func addresses(of name: String) throws(Failure) -> [IPAddress] {
        if let address = IPAddress(name) { return [address] }
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        // The list is the resolver's until it is freed below; nothing of it is kept.
        let result = unsafe getaddrinfo(name, nil, &hints, &list)
        guard result == 0 else {
            let words = unsafe gai_strerror(result).map { unsafe String(cString: $0) } ?? "no answer"
            throw Failure(description: "the name '\(name)' has no address: \(words)")
        }
        defer { unsafe freeaddrinfo(list) }
        var found: [IPAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            let address = unsafe address(entry.pointee)
            if let address, !found.contains(address) { found.append(address) }
            unsafe next = entry.pointee.ai_next
        }
        guard !found.isEmpty else { throw Failure(description: "the name '\(name)' has no address") }
        return found
    }

    private static func address(_ entry: addrinfo) -> IPAddress? {
        guard let pointer = unsafe entry.ai_addr else { return nil }
        // The family tells which structure is there, and the length that it is whole; the bytes are copied.
        let offset: Int
        let count: Int
        switch unsafe (entry.ai_family, Int(entry.ai_addrlen)) {
        case (AF_INET, MemoryLayout<sockaddr_in>.size...): (offset, count) = (4, 4)
        case (AF_INET6, MemoryLayout<sockaddr_in6>.size...): (offset, count) = (8, 16)
        default: return nil
        }
        let raw = unsafe UnsafeRawPointer(pointer) + offset
        let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: raw, count: count))
        return IPAddress(bytes: bytes.span)
    }
}
