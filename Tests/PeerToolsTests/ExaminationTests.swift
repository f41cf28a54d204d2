import Testing

@testable import PeerTools

@Suite struct ExaminationTests {
    private static func way(_ transport: String, _ port: Int, isOpen: Bool) -> Examination.Way {
        .init(
            transport: transport,
            server: "server.example:\(port)",
            address: "192.0.2.1:\(port)",
            isOpen: isOpen,
            roundTripMilliseconds: [],
            failure: isOpen ? nil : "no answer"
        )
    }

    private static var healthy: Examination {
        var found = Examination()
        found.interfaces = [.init(name: "eth0", kind: "wired", addresses: ["10.0.0.2/24"], isDefaultRoute: true)]
        found.ways = [way("UDP", 3478, isOpen: true), way("TCP", 3478, isOpen: true), way("TLS", 443, isOpen: false)]
        found.candidates = ["candidate:1 1 udp 1 192.0.2.1 5000 typ relay raddr 192.0.2.7 rport 1"]
        return found
    }

    @Test func `a port that not every server has is no reason to complain`() {
        #expect(
            Self.healthy.sentences == [
                "Every way to the server is open.",
                "A TURN server relays for this machine: every peer that reaches one can be called.",
            ]
        )
        #expect(Self.healthy.isGood)
    }

    @Test func `what is blocked is named, with the ways that are left`() {
        var found = Self.healthy
        found.ways[0].isOpen = false
        #expect(found.sentences[0].hasPrefix("UDP does not reach the server"))
        #expect(found.sentences[0].hasSuffix("by TCP to server.example:3478."))
        found.ways[1].isOpen = false
        #expect(found.sentences[0].hasPrefix("Nothing reaches the server"))
        #expect(!found.isGood)
    }

    @Test func `without interfaces, routes, servers or relays that is what is said`() {
        var found = Examination()
        #expect(found.sentences[0].contains("no interface"))
        found.interfaces = [.init(name: "eth0", kind: "wired", addresses: [], isDefaultRoute: false)]
        #expect(found.sentences[0].contains("No default route") && found.sentences[1].contains("No server"))
        found = Self.healthy
        found.candidates = []
        found.serverFailures = ["turn:server.example over UDP: it refuses (401)"]
        #expect(found.sentences[1].hasSuffix("it refuses (401)."))
        #expect(!found.isGood)
    }

    @Test func `short packets and gateways have their sentences`() {
        var found = Self.healthy
        found.packetLength = .init(longest: 1200, shortestLost: 1208)
        #expect(found.sentences.contains { $0.contains("must be cut shorter") })
        found.packetLength = .init(longest: 1500, shortestLost: nil)
        #expect(found.sentences.count == 2)
        var gateway = Examination.Gateway(
            interface: "eth0",
            gateway: "10.0.0.1",
            name: "PCP",
            failure: "no gateway answered"
        )
        found.gateways = [gateway]
        #expect(found.sentences.last == "The gateway opens no ports by PCP, NAT-PMP or UPnP.")
        gateway.external = "192.0.2.7:5000"
        found.gateways.append(gateway)
        #expect(found.sentences.last?.hasSuffix("reach this machine at 192.0.2.7:5000.") == true)
    }
}
