import NetTypes
import TURNServer
import Testing

@Suite struct PeerAddressGateTests {
    @Test(arguments: [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.9",
        "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "100::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1",
        // Outside of 2000::/3 nobody is on the Internet, whatever these ranges will be for.
        "::2:0:0:1", "64:ff9c::1", "100:0:0:1::1", "400::1", "1fff::1", "4000::1", "5f00::1", "8000::1", "e000::1",
        // Protocol assignments, documentation.
        "2001:2::1", "2001:20::1", "2001:1ff::1", "2001:db8::1", "3fff::1",
    ])
    func `turn 157: special-purpose ranges are denied by default`(text: String) {
        guard case .denied(let reason) = PeerAddressGate().judge(ip(text)) else {
            Issue.record("\(text) passed")
            return
        }
        #expect(reason == .specialPurpose)
    }

    @Test(arguments: [
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "64:ff9b::127.0.0.1",
        "64:ff9b::8.8.8.8", "64:ff9b:1::169.254.169.254", "64:ff9b:1:808:8:800::", "2002:7f00:1::1", "2002:808:808::1",
        "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ])
    func `turn 157: no encoding of IPv4 inside IPv6 passes`(text: String) {
        guard case .denied = PeerAddressGate().judge(ip(text)) else {
            Issue.record("\(text) passed")
            return
        }
    }

    @Test(arguments: [
        "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1",
        "198.20.0.1", "223.255.255.255", "2a00::1", "2606:4700::1111", "2001:4860:4860::8888", "2001:200::1",
        "2001:db9::1", "2003::1", "3ffe::1", "2000::1",
    ])
    func `ordinary addresses and the neighbours of denied ranges pass`(text: String) {
        #expect(PeerAddressGate().judge(ip(text)) == .allowed)
    }

    @Test func `the operator opens ranges and closes others, and closing wins`() throws {
        let gate = PeerAddressGate(
            allow: [try #require(IPPrefix("10.0.0.0/8")), try #require(IPPrefix("64:ff9b::/96"))],
            deny: [try #require(IPPrefix("10.9.0.0/16")), try #require(IPPrefix("8.8.8.0/24"))]
        )
        #expect(gate.judge(ip("10.1.2.3")) == .allowed)
        #expect(gate.judge(ip("10.9.2.3")) == .denied(.deniedByOperator))
        #expect(gate.judge(ip("8.8.8.8")) == .denied(.deniedByOperator))
        #expect(gate.judge(ip("192.168.1.1")) == .denied(.specialPurpose))
    }

    @Test func `an allowed translation prefix is judged by the address behind it`() throws {
        let gate = PeerAddressGate(
            allow: [try #require(IPPrefix("64:ff9b::/96")), try #require(IPPrefix("64:ff9b:1::/48"))],
            deny: [try #require(IPPrefix("8.8.8.0/24"))],
            relayAddresses: [RelayAddress(local: ip("5.5.5.5"))],
            serverAddresses: [ip("6.6.6.6")]
        )
        #expect(gate.judge(ip("64:ff9b::9.9.9.9")) == .allowed)
        #expect(gate.judge(ip("64:ff9b::10.0.0.1")) == .denied(.specialPurpose))
        #expect(gate.judge(ip("64:ff9b::8.8.8.8")) == .denied(.deniedByOperator))
        #expect(gate.judge(ip("64:ff9b::6.6.6.6")) == .denied(.serverAddress))
        #expect(gate.judge(ip("64:ff9b::5.5.5.5")) == .denied(.serverAddress))
        // The four places of RFC 6052 §2.2 within a local prefix.
        #expect(gate.judge(ip("64:ff9b:1:909:9:900::")) == .allowed)
        #expect(gate.judge(ip("64:ff9b:1:a00:0:100::")) == .denied(.specialPurpose))
        #expect(gate.judge(ip("64:ff9b:1::9.9.9.9")) == .allowed)
        #expect(gate.judge(ip("64:ff9b:1::127.0.0.1")) == .denied(.specialPurpose))
    }

    @Test func `turn 154: Teredo and 6to4 stay closed even if the operator opens them`() throws {
        let gate = PeerAddressGate(allow: [try #require(IPPrefix("2001::/16")), try #require(IPPrefix("2002::/16"))])
        #expect(gate.judge(ip("2002:808:808::1")) == .denied(.tunnel))
        #expect(gate.judge(ip("2001:0:4136:e378:8000:63bf:f7f7:f7f7")) == .denied(.tunnel))
    }

    @Test func `an ISATAP address is judged by the address inside`() {
        #expect(PeerAddressGate().judge(ip("2a00::5efe:10.0.0.1")) == .denied(.specialPurpose))
        #expect(PeerAddressGate().judge(ip("2a00::200:5efe:127.0.0.1")) == .denied(.specialPurpose))
    }

    @Test func `the server's own addresses are closed, its relay addresses are looked up`() throws {
        let gate = PeerAddressGate(
            allow: [try #require(IPPrefix("10.0.0.0/8"))],
            relayAddresses: [RelayAddress(local: ip("10.0.0.5"), external: ip("9.9.9.9"))],
            serverAddresses: [ip("10.0.0.5"), ip("10.0.0.6"), ip("::ffff:10.0.0.7")]
        )
        #expect(gate.judge(ip("10.0.0.5")) == .ownRelay)
        #expect(gate.judge(ip("9.9.9.9")) == .ownRelay)
        #expect(gate.judge(ip("10.0.0.6")) == .denied(.serverAddress))
        #expect(gate.judge(ip("10.0.0.7")) == .denied(.serverAddress))
        #expect(gate.judge(ip("10.0.0.8")) == .allowed)
    }

    @Test func `an operator can name one of the server's own addresses`() throws {
        let gate = PeerAddressGate(
            allow: [try #require(IPPrefix("127.0.0.1"))],
            relayAddresses: [RelayAddress(local: ip("127.0.0.1"))],
            serverAddresses: [ip("127.0.0.1")]
        )
        #expect(gate.judge(ip("127.0.0.1")) == .allowed)
    }

    @Test func `behind a 1:1 NAT peers have two forms`() {
        let gate = PeerAddressGate(relayAddresses: [RelayAddress(local: ip("10.0.0.5"), external: ip("9.9.9.9"))])
        #expect(gate.presented(address("10.0.0.5:50000")) == address("9.9.9.9:50000"))
        #expect(gate.reachable(address("9.9.9.9:50000")) == address("10.0.0.5:50000"))
        #expect(gate.presented(address("8.8.8.8:1")) == address("8.8.8.8:1"))
        #expect(gate.reachable(address("8.8.8.8:1")) == address("8.8.8.8:1"))
    }
}
