import Diagnostics
import NetTypes
import Simulation
import TestSupport
import Testing

/// What NATs do, measured from both sides by probes as RFC 5780 does it, for every combination.
@Suite struct NATBehaviorTests {
    /// A host behind a NAT, and a server with two addresses and two ports.
    struct Bench {
        let network: SimulatedNetwork
        let lan: SimulatedSegment
        let inner: Station
        let server: Station
        let corners: [SocketAddress]
        let sockets: [SocketID]

        init(_ behavior: NATBehavior, seed: UInt64 = 1, addressCount: Int = 1) throws {
            network = SimulatedNetwork(seed: seed)
            var configuration = GatewayConfiguration(nat: behavior)
            configuration.addressCount = addressCount
            lan = network.addLAN("home", behind: configuration)
            inner = Station(network.addHost("inner", on: lan))
            let host = network.addHost("server", on: network.internet, families: [.ipv4])
            network.connect(host, to: network.internet, families: [.ipv4])
            server = Station(host)
            var corners: [SocketAddress] = []
            var sockets: [SocketID] = []
            for interface in host.interfaces {
                for port: UInt16 in [3478, 3479] {
                    let ip = try #require(interface.addresses.first).ip
                    sockets.append(try server.open(port, on: ip))
                    corners.append(SocketAddress(ip, port: port))
                }
            }
            self.corners = corners
            self.sockets = sockets
        }

        /// Sends to the corners in turn; the outer endpoint that each has seen.
        func outerEndpoints(from socket: SocketID, to corners: [Int]) throws -> [SocketAddress] {
            let before = server.probe.datagrams.count
            for corner in corners {
                try inner.send([UInt8(corner)], to: self.corners[corner], from: socket)
                network.run(for: .milliseconds(100))
            }
            return server.probe.datagrams[before...].map(\.from)
        }

        /// Sends from a corner to an outer endpoint; whether it has arrived inside.
        func reaches(_ outer: SocketAddress, from corner: Int) throws -> Bool {
            let before = inner.probe.datagrams.count
            try server.send([9], to: outer, from: sockets[corner])
            network.run(for: .milliseconds(100))
            return inner.probe.datagrams.count > before
        }
    }

    static let portRules: [PortAllocation] = [
        .preserve, .preserveOverload, .contiguous, .delta(7), .random, .block(size: 64),
    ]

    static let everything: [NATBehavior] = NATBehavior.allKinds.flatMap { kind in
        portRules.flatMap { ports in
            [false, true].map { parity in
                var behavior = kind
                behavior.ports = ports
                behavior.keepsParity = parity
                return behavior
            }
        }
    }

    @Test(arguments: everything) func `mapping and filtering are what they are said to be`(_ nat: NATBehavior) throws {
        // With overloading, all mappings of a socket keep its port: from outside they look like one.
        let looksIndependent = nat.mapping == .endpointIndependent || nat.ports == .preserveOverload
        let bench = try Bench(nat)
        let socket = try bench.inner.open(41_000)
        // Corners: 0 and 1 share an address, 2 and 3 the other one.
        let seen = try bench.outerEndpoints(from: socket, to: [0, 1, 2, 3])
        try #require(seen.count == 4)
        let byAddress = seen[0] == seen[1] && seen[2] == seen[3]
        switch nat.mapping {
        case _ where looksIndependent: #expect(Set(seen).count == 1)
        case .endpointIndependent: #expect(Set(seen).count == 1)
        case .addressDependent: #expect(byAddress && seen[0] != seen[2])
        case .addressAndPortDependent:
            // Port preservation gives the first its own port; all differ.
            #expect(Set(seen).count == 4)
        }
        if nat.keepsParity { #expect(seen.allSatisfy { $0.port % 2 == 0 }) }

        let fresh = try Bench(nat, seed: 2)
        let other = try fresh.inner.open(41_000)
        let outer = try #require(try fresh.outerEndpoints(from: other, to: [0]).first)
        #expect(try fresh.reaches(outer, from: 0))
        #expect(try fresh.reaches(outer, from: 1) == (nat.filtering != .addressAndPortDependent))
        #expect(try fresh.reaches(outer, from: 2) == (nat.filtering == .endpointIndependent))
        #expect(try fresh.reaches(outer, from: 3) == (nat.filtering == .endpointIndependent))
    }

    @Test(arguments: portRules) func `ports are chosen by the rule`(_ rule: PortAllocation) throws {
        var nat = NATBehavior.symmetric
        nat.ports = rule
        let bench = try Bench(nat)
        let socket = try bench.inner.open(41_000)
        let ports = try bench.outerEndpoints(from: socket, to: [0, 1, 2, 3]).map { Int($0.port) }
        let steps = zip(ports, ports.dropFirst()).map { $1 - $0 }
        switch rule {
        case .preserve:
            #expect(ports[0] == 41_000)
            #expect(ports.dropFirst().allSatisfy { $0 != 41_000 })
        case .preserveOverload: #expect(ports.allSatisfy { $0 == 41_000 })
        case .contiguous: #expect(steps == [1, 1, 1])
        case .delta(let delta): #expect(steps == [delta, delta, delta])
        case .random: #expect(Set(ports).count == 4 && steps != [1, 1, 1])
        case .block(let size): #expect((ports.max() ?? 0) - (ports.min() ?? 0) < size)
        }
    }

    @Test func `a port that another host has is not given out twice, except by overloading`() throws {
        for overloads in [false, true] {
            var nat = NATBehavior.portRestricted
            nat.ports = overloads ? .preserveOverload : .preserve
            let bench = try Bench(nat)
            let second = Station(bench.network.addHost("second", on: bench.lan))
            let (one, two) = (try bench.inner.open(5000), try second.open(5000))
            try bench.inner.send([1], to: bench.corners[0], from: one)
            try second.send([2], to: bench.corners[0], from: two)
            bench.network.run(for: .seconds(1))
            let ports = bench.server.probe.datagrams.map(\.from.port)
            #expect(ports[0] == 5000)
            #expect((ports[1] == 5000) == overloads)
        }
    }

    @Test(arguments: Hairpin.allCases, Dependence.allCases)
    func `hairpinning`(_ hairpin: Hairpin, _ filtering: Dependence) throws {
        var nat = NATBehavior(mapping: .endpointIndependent, filtering: filtering)
        nat.hairpin = hairpin
        let bench = try Bench(nat)
        let second = Station(bench.network.addHost("second", on: bench.lan))
        let (one, two) = (try bench.inner.open(5000), try second.open(5001))
        let outerOne = try #require(try bench.outerEndpoints(from: one, to: [0]).first)
        try second.send([1], to: bench.corners[0], from: two)
        bench.network.run(for: .milliseconds(100))
        let outerTwo = try #require(bench.server.probe.datagrams.last).from
        // Both sides send, so that every filter is open for the second packet of each.
        for _ in 0..<2 {
            try bench.inner.send([2], to: outerTwo, from: one)
            try second.send([3], to: outerOne, from: two)
            bench.network.run(for: .milliseconds(10))
        }
        let sources = Set(second.probe.datagrams.map(\.from))
        switch hairpin {
        case .none: #expect(sources.isEmpty)
        case .internalSource: #expect(sources == [try bench.inner.address(5000)])
        case .externalSource: #expect(sources == [outerOne])
        }
    }

    @Test(arguments: [MappingRefresh.outbound, .inbound, .both, []])
    func `mappings last as long as they are refreshed`(_ refresh: MappingRefresh) throws {
        var nat = NATBehavior.fullCone
        nat.udpTimeout = .seconds(30)
        nat.refresh = refresh
        for outbound in [false, true] {
            let bench = try Bench(nat)
            let socket = try bench.inner.open()
            let outer = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
            for _ in 0..<4 {
                bench.network.run(for: .seconds(20))
                if outbound {
                    try bench.inner.send([1], to: bench.corners[0], from: socket)
                } else {
                    try bench.server.send([1], to: outer, from: bench.sockets[0])
                }
            }
            bench.network.run(for: .seconds(1))
            let same = try bench.outerEndpoints(from: socket, to: [0]).first == outer
            #expect(same == refresh.contains(outbound ? .outbound : .inbound))
        }
    }

    @Test func `a filter may close before its mapping ends`() throws {
        var nat = NATBehavior.portRestricted
        nat.filterTimeout = .seconds(10)
        let bench = try Bench(nat)
        let socket = try bench.inner.open()
        let outer = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
        #expect(try bench.reaches(outer, from: 0))
        bench.network.run(for: .seconds(11))
        #expect(try !bench.reaches(outer, from: 0))
        #expect(try bench.outerEndpoints(from: socket, to: [1]).first == outer)
    }

    @Test func `a host has only so many mappings, and expired ones make room`() throws {
        var nat = NATBehavior.symmetric
        nat.mappingsPerHost = 2
        nat.udpTimeout = .seconds(10)
        let bench = try Bench(nat)
        let socket = try bench.inner.open()
        #expect(try bench.outerEndpoints(from: socket, to: [0, 1, 2, 3]).count == 2)
        #expect(bench.network.drops[.mappingsExhausted] == 2)
        #expect(bench.inner.probe.errors.map(\.reason) == [.prohibited, .prohibited])
        bench.network.run(for: .seconds(11))
        #expect(try bench.outerEndpoints(from: socket, to: [2, 3]).count == 2)
    }

    @Test(arguments: RefusalAnswer.allCases) func `uninvited packets are refused as configured`(
        _ answer: RefusalAnswer
    ) throws {
        var nat = NATBehavior.portRestricted
        nat.refusal = answer
        let bench = try Bench(nat)
        let outer = SocketAddress(try #require(bench.lan.gateway?.outerAddress), port: 7777)
        #expect(try !bench.reaches(outer, from: 0))
        let reasons = bench.server.probe.errors.map(\.reason)
        switch answer {
        case .drop: #expect(reasons.isEmpty)
        case .reset: #expect(reasons == [.portUnreachable])
        case .unreachable: #expect(reasons == [.hostUnreachable])
        }
        #expect(bench.network.drops[.noMapping] == 1)
    }

    @Test func `addresses are paired with hosts or not`() throws {
        for pairs in [true, false] {
            var nat = NATBehavior.symmetric
            nat.pairsAddresses = pairs
            let bench = try Bench(nat, addressCount: 4)
            var outer: Set<IPAddress> = []
            for _ in 0..<8 {
                outer.formUnion(try bench.outerEndpoints(from: try bench.inner.open(), to: [0]).map(\.ip))
            }
            #expect((outer.count == 1) == pairs)
        }
    }

    @Test func `a reboot forgets all, and may bring a new address`() throws {
        for newAddress in [false, true] {
            let bench = try Bench(.fullCone)
            let socket = try bench.inner.open()
            let before = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
            bench.lan.gateway?.reboot(newAddress: newAddress)
            #expect(try !bench.reaches(before, from: 0))
            let after = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
            #expect(after != before)
            #expect((after.ip != before.ip) == newAddress)
            #expect(try bench.reaches(after, from: 3))
        }
    }

    @Test func `a packet that comes too early is held against its sender`() throws {
        var nat = NATBehavior.portRestricted
        nat.uninvited = .blocksSender(.seconds(60))
        let bench = try Bench(nat)
        let socket = try bench.inner.open()
        let outer = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
        #expect(try !bench.reaches(outer, from: 1))
        _ = try bench.outerEndpoints(from: socket, to: [1])
        #expect(try !bench.reaches(outer, from: 1))
        #expect(bench.network.drops[.blacklisted] == 1)
        bench.network.run(for: .seconds(61))
        #expect(try bench.reaches(outer, from: 1))
    }

    @Test func `a leaky Linux router gives another port to a peer that has come first`() throws {
        for (nat, isLeaky) in [(NATBehavior.linux, false), (.leakyLinux, true)] {
            let bench = try Bench(nat)
            let socket = try bench.inner.open(5000)
            let outer = try #require(try bench.outerEndpoints(from: socket, to: [0]).first)
            #expect(outer.port == 5000)
            #expect(try !bench.reaches(outer, from: 2))
            let second = try #require(try bench.outerEndpoints(from: socket, to: [2]).first)
            #expect((second.port == 5000) == !isLeaky)
            #expect(try bench.outerEndpoints(from: socket, to: [3]).first?.port == 5000)
        }
    }

    @Test func `a NAT may change its behaviour under load`() throws {
        var nat = NATBehavior.fullCone
        nat.degradesAfter = 2
        let bench = try Bench(nat)
        let first = try bench.inner.open()
        #expect(Set(try bench.outerEndpoints(from: first, to: [0, 1, 2])).count == 1)
        _ = try bench.outerEndpoints(from: try bench.inner.open(), to: [0])
        #expect(Set(try bench.outerEndpoints(from: try bench.inner.open(), to: [0, 1, 2])).count == 3)
    }

    @Test func `a gateway that rewrites addresses in payloads`() throws {
        var nat = NATBehavior.fullCone
        nat.rewritesPayloads = true
        let bench = try Bench(nat)
        let socket = try bench.inner.open()
        let inner = try #require(bench.inner.host.address())
        let octets = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: inner.ipv4Bits >> UInt32($0)) }
        try bench.inner.send([1, 2] + octets + [3], to: bench.corners[0], from: socket)
        bench.network.run(for: .seconds(1))
        let outer = try #require(bench.lan.gateway?.outerAddress)
        let got = try #require(bench.server.probe.datagrams.first).bytes
        #expect(got == [1, 2] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: outer.ipv4Bits >> UInt32($0)) } + [3])
    }
}
