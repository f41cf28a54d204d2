import CLinux
public import EventLoop
public import NetTypes
public import Transport

/// The relay ports of some addresses, and which thread's socket receives for each: a program that the kernel asks.
///
/// Attached to the network namespace while the object lives; the kernel removes it with the process, however that ends. A
/// port that no thread has claimed is the kernel's business, as if there were no program.
@safe
public final class PortLookup: Sendable {
    /// How many threads there may be.
    public static let threadLimit = 256

    /// The addresses, in the order in which they were given; an address is named by its place here.
    public let addresses: [IPAddress]
    /// The relay ports of each of them.
    public let ports: ClosedRange<UInt16>

    private let numbers: Descriptor
    private let places: Descriptor
    private let sockets: Descriptor
    private let program: Descriptor
    private let link: Descriptor
    // The map `places`, `placeCount` elements, mapped from init to deinit. Elements are read and written in single steps, by
    // the C functions and the program.
    private nonisolated(unsafe) let memory: UnsafeMutablePointer<UInt64>
    private let placeCount: Int

    /// Loads the program and attaches it to this thread's network namespace.
    ///
    /// - Throws: `SystemError` if the kernel refuses: it takes Linux 5.9, CAP_BPF and CAP_NET_ADMIN.
    public init(addresses: [IPAddress], ports: ClosedRange<UInt16>) throws(SystemError) {
        guard 1.littleEndian == 1 else { throw SystemError("load a BPF program on this processor", number: 95) }
        self.addresses = addresses
        self.ports = ports
        let count = addresses.count * ports.count
        numbers = try Descriptor(
            floe_bpf_create_map(16, UInt32(max(1, addresses.count))),
            "make a table of relay addresses (BPF)"
        )
        sockets = try Descriptor(
            floe_bpf_create_socket_map(UInt32(max(1, addresses.count) * Self.threadLimit)),
            "make a table of sockets (BPF)"
        )
        placeCount = max(1, count)
        places = try Descriptor(floe_bpf_create_array(8, UInt32(placeCount)), "make a table of relay ports (BPF)")
        var start: UnsafeMutableRawPointer?
        let mapped = unsafe floe_bpf_map(places.number, placeCount * 8, &start)
        guard mapped >= 0, let start = unsafe start else {
            throw SystemError("map a table of relay ports", number: -mapped)
        }
        // Elements of eight bytes, which the kernel has aligned to a page.
        let memory = unsafe start.bindMemory(to: UInt64.self, capacity: placeCount)
        unsafe self.memory = memory
        let tables = (numbers.number, places.number, sockets.number)
        let loaded = Self.load(FLOE_BPF_LOOKUP, LookupProgram.instructions) { code in
            code.write(UInt32(bitPattern: tables.0), at: LookupProgram.numberReferences)
            code.write(UInt32(bitPattern: tables.1), at: LookupProgram.placeReferences)
            code.write(UInt32(bitPattern: tables.2), at: LookupProgram.socketReferences)
            code.write(UInt32(ports.lowerBound), at: LookupProgram.firstReferences)
            code.write(UInt32(ports.count), at: LookupProgram.countReferences)
        }
        do throws(SystemError) {
            program = try Descriptor(loaded, "load the look-up of sockets (BPF sk_lookup)")
            for (index, address) in addresses.enumerated() {
                try Self.set(numbers.number, Self.key(address), UInt64(index), "name a relay address (BPF)")
            }
            link = try Descriptor(
                floe_bpf_attach_lookup(program.number),
                "attach the look-up of sockets (BPF sk_lookup)"
            )
        } catch {
            unsafe floe_bpf_unmap(memory, placeCount * 8)
            throw error
        }
    }

    deinit { unsafe floe_bpf_unmap(memory, placeCount * 8) }

    // MARK: Ports

    /// Gives a port to a thread; `false` if somebody has it.
    public func claim(_ port: UInt16, of address: Int, for thread: Int) -> Bool {
        precondition((0..<Self.threadLimit).contains(thread), "a thread that the program knows")
        // In bounds of the mapped table.
        return unsafe floe_bpf_claim(memory + place(port, address), UInt64(thread + 1)) != 0
    }

    /// Lets nobody have a port: somebody else's socket is bound to it, and goes on receiving.
    public func exclude(_ port: UInt16, of address: Int) {
        // Beyond all threads there is no socket, and where there is none the kernel looks on.
        _ = unsafe floe_bpf_claim(memory + place(port, address), UInt64(Self.threadLimit + 1) << 16)
    }

    /// Takes a port back, by the thread that has it.
    public func release(_ port: UInt16, of address: Int) {
        // In bounds of the mapped table.
        unsafe floe_bpf_release(memory + place(port, address))
    }

    private func place(_ port: UInt16, _ address: Int) -> Int {
        precondition(ports.contains(port) && addresses.indices.contains(address), "no such relay port")
        return address * ports.count + Int(port - ports.lowerBound)
    }

    // MARK: Sockets

    /// Opens the socket that receives what peers send to a thread's ports of one address.
    ///
    /// Each datagram tells the port by its destination. The socket is bound where no packet leads: it gets what the program
    /// gives to it and nothing else.
    ///
    /// - Throws: `SocketError` or `SystemError`, if the system refuses.
    public func openSocket(of address: Int, for thread: Int, _ options: UDPSocket.Options) throws -> UDPSocket {
        var options = options
        options.reportsOriginalDestination = true
        options.allowsMissingAddress = true
        let nowhere = addresses[address].family == .ipv4 ? Self.nowhere4 : Self.nowhere6
        let socket = try UDPSocket(boundTo: SocketAddress(nowhere, port: 0), options: options)
        var (index, descriptor) = (UInt32(address * Self.threadLimit + thread), socket.descriptor)
        // The kernel copies both during the call.
        let result = unsafe floe_bpf_set(sockets.number, &index, &descriptor)
        guard result >= 0 else { throw SystemError("give a socket to the look-up (BPF)", number: -result) }
        return socket
    }

    /// Opens the socket that gets ICMP errors about what a thread's ports of one family have sent.
    ///
    /// - Throws: `SystemError` if the system refuses: it takes CAP_NET_RAW.
    public func openErrors(_ family: AddressFamily, for thread: Int) throws(SystemError) -> PortErrorSocket {
        let tables = (numbers.number, places.number, ports)
        let loaded = Self.load(FLOE_BPF_FILTER, ErrorProgram.instructions) { code in
            code.write(UInt32(bitPattern: tables.0), at: ErrorProgram.numberReferences)
            code.write(UInt32(bitPattern: tables.1), at: ErrorProgram.placeReferences)
            code.write(UInt32(tables.2.lowerBound), at: ErrorProgram.firstReferences)
            code.write(UInt32(tables.2.count), at: ErrorProgram.countReferences)
            code.write(UInt32(thread + 1), at: ErrorProgram.ownReferences)
        }
        return try PortErrorSocket(family, filter: Descriptor(loaded, "load a filter for ICMP errors (BPF)"))
    }

    // The IPv4 dummy address (RFC 7600 §4.8), and the range to discard (RFC 6666): no host has them.
    private static let nowhere4 = IPAddress(ipv4: 0xC000_0008)
    private static let nowhere6 = IPAddress(ipv6: 0x0100_0000_0000_0000, 1)

    // MARK: The kernel's tables

    private static func load(_ kind: floe_bpf_kind, _ code: [UInt64], _ link: (inout [UInt64]) -> Void) -> Int32 {
        var code = code
        link(&code)
        // The kernel reads as many instructions as the array has, during the call.
        return unsafe code.withUnsafeBufferPointer { code in
            unsafe floe_bpf_load(kind, code.baseAddress, UInt32(code.count), nil, 0)
        }
    }

    private static func set(_ map: Int32, _ key: [UInt8], _ value: UInt64, _ what: String) throws(SystemError) {
        var value = value
        // The kernel copies both during the call; the key has the sixteen bytes that the map's keys have.
        let result = unsafe key.withUnsafeBufferPointer { key in unsafe floe_bpf_set(map, key.baseAddress, &value) }
        guard result >= 0 else { throw SystemError(what, number: -result) }
    }

    /// An address as IPv6 has it, in network order.
    private static func key(_ address: IPAddress) -> [UInt8] {
        let high = address.family == .ipv4 ? 0 : address.high
        let low = address.family == .ipv4 ? 0xFFFF_0000_0000 | address.low : address.low
        return [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }
}

extension [UInt64] {
    /// Writes a constant into instructions that load one: it stands in their upper half.
    fileprivate mutating func write(_ value: UInt32, at places: [Int]) {
        for place in places { self[place] |= UInt64(value) << 32 }
    }
}
