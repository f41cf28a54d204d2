public import NetTypes

/// What kind of address an interface has.
public enum AddressKind: String, Sendable, Hashable, CaseIterable {
    /// An IPv4 address, or an IPv6 address that stays.
    case stable
    /// An IPv6 address that changes for privacy (RFC 8981).
    case temporary
    /// An IPv6 address that is not to be used for anything new.
    case deprecated
    /// An IPv6 address of a site (RFC 4193).
    case uniqueLocal
    /// An address of one link.
    case linkLocal
}

/// What an interface is connected to.
public enum InterfaceKind: String, Sendable, Hashable, CaseIterable {
    /// A cable.
    case ethernet
    /// A wireless LAN.
    case wifi
    /// A mobile network.
    case cellular
    /// A tunnel.
    case vpn
}

/// One interface of a host.
public struct HostInterface {
    /// One of its addresses.
    public struct Address: Sendable, Hashable {
        /// The address.
        public var ip: IPAddress
        /// Its kind.
        public var kind: AddressKind
    }

    /// Its name, `eth0` for example.
    public let name: String
    /// What it is connected to.
    public let kind: InterfaceKind
    /// Where it is connected.
    public let segment: SimulatedSegment
    /// Whether it can be used.
    public internal(set) var isUp = true
    /// Its addresses.
    public internal(set) var addresses: [Address]
    let attachment: Int
}

/// A computer: interfaces, sockets, clocks and programs.
public final class SimulatedHost {
    struct UDPSocket {
        let ipProtocol: IPProtocol
        let program: Int
        let local: SocketAddress
        var groups: [IPAddress] = []
    }

    struct RunningProgram {
        let program: any SimulatedProgram
        /// The moment for which a wake-up is in the queue.
        var wake = Instant.distantFuture
        var spins = 0
        var isStopped = false
    }

    struct SocketKey: Hashable {
        let ipProtocol: IPProtocol
        let local: SocketAddress
    }

    struct StreamKey: Hashable {
        let local: SocketAddress
        let remote: SocketAddress
    }

    /// The name, by which signaling and traces know it.
    public let name: String
    /// The interfaces, best first: the first one that is up has the default route.
    public internal(set) var interfaces: [HostInterface] = []
    /// Whether a closed UDP port is answered with an ICMP error and a closed TCP port with a reset.
    public var answersClosedPorts = true
    /// What the next sends fail with: how many times, and how.
    public var sendFailures: (count: Int, failure: SocketFailure)?
    /// Whether the host is asleep: what comes is lost, and its programs stand still.
    public internal(set) var isAsleep = false

    unowned let network: SimulatedNetwork
    let index: Int
    var entropy: Entropy
    var sockets: [UDPSocket?] = []
    var bySocket: [SocketKey: Int] = [:]
    var streams: [TCPStream?] = []
    var byStream: [StreamKey: Int] = [:]
    var programs: [RunningProgram] = []
    /// How far the monotonic clock is ahead of the world's.
    var clockLead = TimeSpan.zero
    /// By how much the time of day is wrong, in seconds.
    public var wallClockError: Int64 = 0

    init(_ name: String, index: Int, network: SimulatedNetwork) {
        self.name = name
        self.index = index
        self.network = network
        entropy = network.entropy(name)
    }

    /// The time on the host's monotonic clock.
    public var now: Instant { network.now + clockLead }

    /// The time of day on the host, in seconds since 1970.
    public var unixSeconds: UInt64 {
        UInt64(max(0, Int64(network.startUnixSeconds + network.now.nanoseconds / 1_000_000_000) + wallClockError))
    }

    /// The first address of a family on the first interface that is up and has one.
    public func address(_ family: AddressFamily = .ipv4) -> IPAddress? {
        for interface in interfaces where interface.isUp {
            if let found = interface.addresses.first(where: { $0.ip.family == family && $0.kind == .stable }) {
                return found.ip
            }
        }
        return nil
    }

    // MARK: Programs

    /// Starts a program; it gets `.started` before anything else.
    @discardableResult
    public func run<Program: SimulatedProgram>(_ program: Program) -> Program {
        programs.append(RunningProgram(program: program))
        tell(programs.count - 1, .started)
        return program
    }

    /// Does something with a running program, as its user does, and then what follows from it.
    public func perform<Program: SimulatedProgram>(_ program: Program, _ body: (Program, HostContext) -> Void) {
        guard let index = programs.firstIndex(where: { $0.program === program }) else { return }
        body(program, HostContext(host: self, program: index))
        schedule(index)
    }

    /// Stops all programs for good, as a crash does: sockets close without a word.
    public func crash() {
        for index in programs.indices { programs[index].isStopped = true }
        sockets = sockets.map { _ in nil }
        bySocket = [:]
        streams = streams.map { _ in nil }
        byStream = [:]
    }

    /// Hands an event to a program.
    func tell(_ index: Int, _ event: HostEvent) {
        guard programs.indices.contains(index), !programs[index].isStopped else { return }
        programs[index].program.handle(event, HostContext(host: self, program: index))
        schedule(index)
    }

    func tellAll(_ event: HostEvent) { for index in programs.indices { tell(index, event) } }

    /// Sees to it that the program is woken in time.
    private func schedule(_ index: Int) {
        guard let due = programs[index].program.nextTimeout else { return }
        let moment = max(network.now, Instant(nanoseconds: (due - (.zero + clockLead)).nanoseconds))
        guard moment < programs[index].wake else { return }
        programs[index].wake = moment
        network.push(Event(.wake, self.index, index), at: moment)
    }

    /// A wake-up has come out of the queue.
    func wake(_ index: Int, at moment: Instant) {
        guard programs[index].wake == moment, !isAsleep else { return }
        programs[index].wake = .distantFuture
        guard let due = programs[index].program.nextTimeout, !programs[index].isStopped else { return }
        guard due <= now else { return schedule(index) }
        tell(index, .timeout)
        // A program that wants to be called again and again without time passing would never let the world go on.
        if let next = programs[index].program.nextTimeout, next <= now {
            programs[index].spins += 1
            if programs[index].spins > 10_000 {
                programs[index].isStopped = true
                network.report(.spinning(host: name))
            }
        } else {
            programs[index].spins = 0
        }
    }

    // MARK: Faults

    /// Moves the monotonic clock ahead, as a virtual machine's does that was paused.
    public func jumpClock(by span: TimeSpan) {
        clockLead = TimeSpan(nanoseconds: clockLead.nanoseconds + span.nanoseconds)
        for index in programs.indices { schedule(index) }
    }

    /// Puts the host to sleep until `wakeUp`.
    public func sleep() { isAsleep = true }

    /// Wakes the host: timers that have passed fire, and programs are told.
    public func wakeUp() {
        guard isAsleep else { return }
        isAsleep = false
        for index in programs.indices { programs[index].wake = .distantFuture }
        for stream in streams { stream?.rearm() }
        tellAll(.woke)
    }

    /// Takes an interface down or up again; programs are told.
    public func setInterface(_ name: String, isUp: Bool) {
        guard let index = interfaces.firstIndex(where: { $0.name == name }), interfaces[index].isUp != isUp else {
            return
        }
        interfaces[index].isUp = isUp
        tellAll(.interfacesChanged)
    }

    /// Gives an interface other addresses of the same kinds, as after moving to another access point.
    public func renumber(_ name: String) {
        guard let index = interfaces.firstIndex(where: { $0.name == name }) else { return }
        let interface = interfaces[index]
        interfaces[index].addresses = interface.addresses.map { old in
            HostInterface.Address(ip: network.moveAddress(old.ip, of: interface.attachment), kind: old.kind)
        }
        tellAll(.interfacesChanged)
    }

    /// Adds an address to an interface; programs are told.
    public func addAddress(_ address: IPAddress, _ kind: AddressKind, to name: String) {
        guard let index = interfaces.firstIndex(where: { $0.name == name }) else { return }
        interfaces[index].segment.places[address] = interfaces[index].attachment
        interfaces[index].addresses.append(HostInterface.Address(ip: address, kind: kind))
        tellAll(.interfacesChanged)
    }
}
