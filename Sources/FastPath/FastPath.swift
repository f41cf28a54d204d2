import CLinux
public import EventLoop
import Synchronization

/// The kernel's relaying of bound channels: a program at the ingress of interfaces, and its table of flows.
///
/// Attached while the object lives; the kernel removes it with the process, however that ends. Any thread may change the
/// table, each its own flows.
public final class FastPath: Sendable {
    private let table: Descriptor
    private let granted: Descriptor
    private let spent: Descriptor
    private let program: Descriptor
    private let links: Links
    /// The most flows that there may be, two for each channel; those beyond are relayed by user space.
    public static let capacity = 1 << 18
    /// The most allowances that there may be, with the one that stands for none.
    private static let allowanceCapacity: UInt32 = 1 << 16
    /// The next allowance that nobody has had.
    private let nextAllowance = Atomic<UInt32>(1)

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
        table = try Descriptor(
            floe_bpf_create_map(
                UInt32(MemoryLayout<floe_relay_key>.size),
                UInt32(MemoryLayout<floe_relay_path>.size),
                UInt32(Self.capacity)
            ),
            "make a table for the fast path"
        )
        let size = Self.allowanceCapacity
        granted = try Descriptor(floe_bpf_create_array(size), "make a table of allowances for the fast path")
        spent = try Descriptor(floe_bpf_create_array(size), "make a table of allowances for the fast path")
        var instructions = RelayProgram.instructions
        func refer(to map: Int32, in places: [Int]) {
            // The upper half is the constant that is loaded.
            for place in places { instructions[place] |= UInt64(UInt32(bitPattern: map)) << 32 }
        }
        refer(to: table.number, in: RelayProgram.pathReferences)
        refer(to: granted.number, in: RelayProgram.grantedReferences)
        refer(to: spent.number, in: RelayProgram.spentReferences)
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

    /// Relays a flow from now on; `false` if it cannot be, and user space must.
    ///
    /// A flow that is there already is replaced, with its counts.
    @discardableResult
    public func open(_ flow: RelayedFlow, on allowance: Allowance? = nil) -> Bool {
        guard let interfaces = flow.interfaces else { return false }
        let mtu = floe_interface_mtu(interfaces.to)
        guard mtu > 0 else { return false }
        return open(flow, on: allowance, from: interfaces.from, to: interfaces.to, mtu: UInt16(clamping: mtu))
    }

    /// The same for a flow that comes in and leaves by these interfaces, whatever the routes say.
    package func open(
        _ flow: RelayedFlow,
        on allowance: Allowance? = nil,
        from: UInt32,
        to: UInt32,
        mtu: UInt16
    ) -> Bool {
        var (key, path) = (flow.key, flow.path(from: from, to: to, mtu: mtu))
        path.allowance = allowance?.index ?? 0
        // The kernel copies both during the call.
        return unsafe floe_bpf_set(table.number, &key, &path) == 0
    }

    /// Ends a flow; returns what was relayed since it was opened, or `nil` if there is none.
    public func close(_ flow: RelayedFlow) -> FlowTraffic? {
        var (key, path) = (flow.key, floe_relay_path())
        // The kernel copies both during the call.
        guard unsafe floe_bpf_take(table.number, &key, &path) == 0 else { return nil }
        return FlowTraffic(packets: path.packets, bytes: path.bytes)
    }

    /// What was relayed since the flow was opened, or `nil` if there is none.
    public func traffic(of flow: RelayedFlow) -> FlowTraffic? {
        var (key, path) = (flow.key, floe_relay_path())
        // The kernel copies both during the call.
        guard unsafe floe_bpf_get(table.number, &key, &path) == 0 else { return nil }
        return FlowTraffic(packets: path.packets, bytes: path.bytes)
    }

    /// Makes a number of bytes that flows may relay together before the rest goes up: none at first.
    ///
    /// It is never given back: who has no use for it any more keeps it for another one. `nil` if there are no more.
    public func makeAllowance() -> Allowance? {
        let index = nextAllowance.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < Self.allowanceCapacity else {
            _ = nextAllowance.wrappingSubtract(1, ordering: .relaxed)
            return nil
        }
        return Allowance(index: index)
    }

    /// Writes down what an allowance has been granted by now; `false` if the kernel does not take it.
    public func grant(_ allowance: Allowance) -> Bool {
        var (index, granted) = (allowance.index, allowance.granted)
        // The kernel copies both during the call.
        return unsafe floe_bpf_set(self.granted.number, &index, &granted) == 0
    }

    /// All bytes that were ever spent of an allowance.
    public func spent(of allowance: Allowance) -> UInt64 {
        var (index, spent): (UInt32, UInt64) = (allowance.index, 0)
        // The kernel copies both during the call. It cannot fail for an element of an array.
        return unsafe floe_bpf_get(self.spent.number, &index, &spent) == 0 ? spent : .max
    }

    /// What the program makes of one Ethernet frame: `nil` if it leaves it to user space.
    ///
    /// For tests (BPF_PROG_TEST_RUN). `interface` is where it comes in.
    ///
    /// - Throws: `SystemError` if the kernel does not run it.
    public func process(_ frame: [UInt8], from interface: UInt32) throws(SystemError) -> [UInt8]? {
        var length = UInt32(frame.count + 64)
        var output = [UInt8](repeating: 0, count: Int(length))
        // The kernel reads `frame.count` bytes and writes at most `length`, during the call.
        let verdict = unsafe frame.withUnsafeBufferPointer { frame in
            unsafe output.withUnsafeMutableBufferPointer { output in
                unsafe floe_bpf_run(
                    program.number,
                    interface,
                    frame.baseAddress,
                    UInt32(frame.count),
                    output.baseAddress,
                    &length
                )
            }
        }
        // Verdicts: TC_ACT_REDIRECT, TCX_NEXT as it looks unsigned; the number of an error is negative and small.
        switch verdict {
        case 7: return Array(output[..<Int(length)])
        case -1: return nil
        default: throw SystemError("run the fast path", number: abs(verdict))
        }
    }
}
