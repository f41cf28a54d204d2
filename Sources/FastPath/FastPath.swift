import CLinux
public import EventLoop
public import NetTypes

/// The kernel's relaying of bound channels: a program at the ingress of interfaces, and its table of flows.
///
/// Attached while the object lives; the kernel removes it with the process, however that ends. Any thread may change the
/// table, each its own flows. Only `open`, `close` and `route` are system calls: all else is memory that the kernel shares.
public final class FastPath: Sendable {
    /// Leads from what packets look like to the place of their flow.
    private let places: Descriptor
    private let flows: SharedArray<floe_relay_flow>
    private let allowances: SharedArray<floe_relay_allowance>
    private let program: Descriptor
    private let links: Links
    /// The most flows that there may be, two for each channel; those beyond are relayed by user space.
    ///
    /// Each takes 128 bytes from the start on.
    public static let capacity: UInt32 = 1 << 17
    /// The most allowances that there may be, with the one that stands for none.
    private static let allowanceCapacity: UInt32 = 1 << 16
    /// Places for flows.
    ///
    /// Whoever gives one back has closed the flow that was there. A run of the program that began before may yet count a
    /// packet for the next flow that is opened there; none is relayed for it.
    package let freeSlots = SharedStock(0..<FastPath.capacity) { FlowSlot(index: $0) }
    /// Numbers of bytes that flows may relay together before the rest goes up: none at first.
    ///
    /// Whoever gives one back has left it nothing to spend.
    package let freeAllowances = SharedStock(1..<FastPath.allowanceCapacity) { Allowance(index: $0) }

    /// Descriptors cannot stand in an array: each holds the next.
    private final class Links: Sendable {
        let link: Descriptor
        let next: Links?

        init(_ link: consuming Descriptor, _ next: Links?) {
            self.link = link
            self.next = next
        }
    }

    /// Loads the program and attaches it to the interfaces with these indices.
    ///
    /// - Throws: `SystemError` if the kernel refuses: it takes Linux 6.6, CAP_BPF and CAP_NET_ADMIN.
    public init(interfaces: [UInt32]) throws(SystemError) {
        guard 1.littleEndian == 1 else { throw SystemError("load the fast path on this processor", number: 95) }
        places = try Descriptor(
            floe_bpf_create_map(UInt32(MemoryLayout<floe_relay_key>.size), Self.capacity),
            "make a table for the fast path"
        )
        flows = try SharedArray(of: Self.capacity, "make a table of flows for the fast path")
        allowances = try SharedArray(of: Self.allowanceCapacity, "make a table of allowances for the fast path")
        var instructions = RelayProgram.instructions
        func refer(to map: Int32, in places: [Int]) {
            // The upper half is the constant that is loaded.
            for place in places { instructions[place] |= UInt64(UInt32(bitPattern: map)) << 32 }
        }
        refer(to: places.number, in: RelayProgram.placeReferences)
        refer(to: flows.map.number, in: RelayProgram.flowReferences)
        refer(to: allowances.map.number, in: RelayProgram.allowanceReferences)
        // The kernel reads as many instructions as the array has, during the call.
        let loaded = unsafe instructions.withUnsafeBufferPointer { code in
            unsafe floe_bpf_load(FLOE_BPF_PACKETS, code.baseAddress, UInt32(code.count), nil, 0)
        }
        program = try Descriptor(loaded, "load the fast path")
        var links: Links?
        for interface in interfaces {
            guard Self.suits(interface) else {
                throw SystemError("attach the fast path to interface \(interface), which is not Ethernet", number: 95)
            }
            let link = floe_bpf_attach(program.number, interface)
            links = Links(try Descriptor(link, "attach the fast path to interface \(interface)"), links)
        }
        self.links = links ?? Links(Descriptor(owning: -1), nil)
    }

    /// Whether the program can read an interface's packets: those of a tunnel have no Ethernet header before them, and bytes
    /// that a sender has chosen would stand where the program looks for addresses.
    public static func suits(_ interface: UInt32) -> Bool { floe_interface_is_ethernet(interface) == 1 }

    // MARK: Flows

    /// Where packets of a local address to a remote one leave now; `nil` if they do not leave for other hosts.
    public func route(from local: IPAddress, to remote: IPAddress) -> FlowRoute? { FlowRoute(from: local, to: remote) }

    /// Relays a flow from now on, in a place where none is open.
    ///
    /// `incoming` is where answers to its source would leave, and by nothing else it may come in (RFC 3704 §2.2).
    ///
    /// - Throws: `SystemError`; EEXIST if such packets are another flow's.
    public func open(
        _ flow: RelayedFlow,
        in slot: inout FlowSlot,
        from incoming: FlowRoute,
        over outgoing: FlowRoute,
        until expires: Instant,
        on allowance: Allowance?
    ) throws(SystemError) {
        slot.number &+= 1
        if slot.number == 0 { slot.number = 1 }
        var values = flow.values(from: incoming, over: outgoing)
        values.number = UInt64(slot.number)
        values.expires = expires.nanoseconds
        values.allowance = allowance?.index ?? 0
        // Read during the call.
        unsafe floe_relay_open(flows[slot.index], &values)
        do throws(SystemError) { try lead(flow, to: slot) } catch {
            unsafe floe_relay_close(flows[slot.index])
            throw error
        }
    }

    /// Leads packets of a flow to a place, whatever is there.
    package func lead(_ flow: RelayedFlow, to slot: FlowSlot) throws(SystemError) {
        var key = flow.key
        // The kernel copies it during the call.
        let result = unsafe floe_bpf_add(places.number, &key, UInt64(slot.number) << 32 | UInt64(slot.index))
        guard result == 0 else { throw SystemError("open a flow of the fast path", number: -result) }
    }

    /// Ends a flow; `traffic(in:)` tells what was relayed.
    ///
    /// - Throws: `SystemError`; no packet is begun with it from now on all the same.
    public func close(_ flow: RelayedFlow, in slot: FlowSlot) throws(SystemError) {
        unsafe floe_relay_close(flows[slot.index])
        var key = flow.key
        // The kernel reads it during the call.
        let result = unsafe floe_bpf_remove(places.number, &key)
        guard result == 0 else { throw SystemError("close a flow of the fast path", number: -result) }
    }

    /// Lets an open flow end then, and not when it would have.
    public func setEnd(of slot: FlowSlot, _ expires: Instant) {
        unsafe floe_relay_set_end(flows[slot.index], expires.nanoseconds)
    }

    /// What was ever relayed by the flows of a place.
    public func traffic(in slot: FlowSlot) -> FlowTraffic {
        var traffic = FlowTraffic(packets: 0, bytes: 0)
        // Both are written during the call.
        unsafe floe_relay_counts(flows[slot.index], &traffic.packets, &traffic.bytes)
        return traffic
    }

    // MARK: Allowances

    /// Writes down what an allowance has been granted by now.
    public func grant(_ allowance: Allowance) {
        unsafe floe_relay_grant(allowances[allowance.index], allowance.granted)
    }

    /// All bytes that were ever spent of an allowance.
    public func spent(of allowance: Allowance) -> UInt64 { unsafe floe_relay_spent(allowances[allowance.index]) }

    // MARK: Tests

    /// What the program makes of one Ethernet frame: `nil` if it leaves it to user space.
    ///
    /// For tests (BPF_PROG_TEST_RUN). `interface` is where it comes in.
    ///
    /// - Throws: `SystemError` if the kernel does not run it, or the program does anything else with it.
    public func process(_ frame: [UInt8], from interface: UInt32) throws(SystemError) -> [UInt8]? {
        var (length, verdict) = (UInt32(frame.count + 64), UInt32(0))
        var output = [UInt8](repeating: 0, count: Int(length))
        // The kernel reads `frame.count` bytes and writes at most `length`, during the call.
        let result = unsafe frame.withUnsafeBufferPointer { frame in
            unsafe output.withUnsafeMutableBufferPointer { output in
                unsafe floe_bpf_run(
                    program.number,
                    interface,
                    frame.baseAddress,
                    UInt32(frame.count),
                    output.baseAddress,
                    &length,
                    &verdict
                )
            }
        }
        guard result == 0 else { throw SystemError("run the fast path", number: -result) }
        switch verdict {
        // TC_ACT_REDIRECT
        case 7: return Array(output[..<Int(length)])
        // TCX_NEXT, -1
        case .max: return nil
        default: throw SystemError("make sense of the fast path's verdict \(verdict)", number: 71)
        }
    }
}
