import EventLoop
import FastPath
import NetTypes

/// What a shard's flows need of the kernel's fast path; see `FastPath` for what each does.
protocol FlowKernel: Sendable {
    // What all shards share.
    var freeSlots: SharedStock<FlowSlot> { get }
    var freeAllowances: SharedStock<Allowance> { get }

    // System calls.
    func route(from local: IPAddress, to remote: IPAddress) -> FlowRoute?
    func open(
        _ flow: RelayedFlow,
        in slot: inout FlowSlot,
        from incoming: FlowRoute,
        over outgoing: FlowRoute,
        until expires: Instant,
        on allowance: Allowance?
    ) throws(SystemError)
    func close(_ flow: RelayedFlow, in slot: FlowSlot) throws(SystemError)

    // Reads and writes of memory.
    func setEnd(of slot: FlowSlot, _ expires: Instant)
    func traffic(in slot: FlowSlot) -> FlowTraffic
    func grant(_ allowance: Allowance)
    func spent(of allowance: Allowance) -> UInt64
}

extension FastPath: FlowKernel {}

/// Why the kernel cannot relay one direction of a channel, so that user space does; the names are those in `/metrics`.
enum FlowRefusal: String, DropReason {
    /// There is no route to another host.
    case noRoute
    /// The kernel's table is full, or all places in it are used.
    case noRoom
    /// Such packets are another flow's, whose end is not yet through.
    case isTaken
    /// Bandwidth is limited, and there are no more allowances.
    case noAllowance
    /// The kernel has refused for another reason.
    case failed

    /// What an error of the kernel's means.
    init(_ error: SystemError) {
        self =
            switch error.number {
            // EEXIST
            case 17: .isTaken
            // E2BIG, ENOMEM
            case 7, 12: .noRoom
            default: .failed
            }
    }
}
