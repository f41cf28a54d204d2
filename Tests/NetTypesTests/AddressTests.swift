import Bytes
import NetTypes
import TestSupport
import Testing

@Suite struct AddressTests {
    // The forms of RFC 5952 §4 and §5.
    @Test(arguments: [
        ("0.0.0.0", "0.0.0.0"), ("255.1.20.3", "255.1.20.3"), ("::", "::"), ("::1", "::1"), ("1::", "1::"),
        ("2001:DB8::0001", "2001:db8::1"), ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
    ])
    func `addresses are read in every form and written in the canonical one`(text: String, canonical: String) {
        #expect(IPAddress(text)?.description == canonical)
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "+1.2.3.4", ":", ":::", "1:2:3:4:5:6:7",
        "1::2::3",
        "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "g::", "12345::", "1:", ":1", "::1.2.3", "1.2.3.4::", "::1%eth0",
        "[::1]",
        "1:2:3:4:5:6:7:1.2.3.4",
    ])
    func `what is not an address is refused`(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(arguments: seeds(100))
    func `an address survives text and bytes`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let sparse = entropy.next() & entropy.next() & 0xFFFF_0000_FFFF_0000
        for address in [
            IPAddress(ipv6: sparse, entropy.next()), IPAddress(ipv4: UInt32(truncatingIfNeeded: entropy.next())),
        ] {
            #expect(IPAddress(address.description) == address)
            let bytes = buildBytes(capacity: 16) { address.write(into: &$0) }
            #expect(bytes.count == address.byteCount)
            #expect(IPAddress(bytes: bytes.span) == address)
            let endpoint = SocketAddress(address, port: UInt16(truncatingIfNeeded: entropy.next()))
            #expect(SocketAddress(endpoint.description) == endpoint)
        }
    }

    @Test(arguments: [
        "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:+5", "::1:5", "[1.2.3.4]:5", "[::1]", "[::1:5", ":5",
    ])
    func `what is not an address with a port is refused`(text: String) {
        #expect(SocketAddress(text) == nil)
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.0", false), ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false), ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.8", false),
        ("fe80::/10", "febf::1", true), ("fe80::/10", "fec0::1", false), ("2001:db8::/33", "2001:db8:8000::", false),
        ("2001:db8::/65", "2001:db8::7fff:0:0:1", true), ("2001:db8::/65", "2001:db8::8000:0:0:1", false),
        ("::/0", "::", true),
        ("10.9.9.9/8", "10.1.1.1", true),
    ])
    func `a prefix holds its addresses only`(prefix: String, address: String, expected: Bool) throws {
        #expect(try #require(IPPrefix(prefix)).contains(#require(IPAddress(address))) == expected)
    }

    @Test(arguments: ["10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/8/9", "10.0.0.0/-1", "10.0.0.0/+8", "x/8"])
    func `what is not a prefix is refused`(text: String) {
        #expect(IPPrefix(text) == nil)
    }

    @Test func `mapped addresses unwrap`() {
        #expect(IPAddress("::ffff:10.0.0.1")?.unmapped == IPAddress("10.0.0.1"))
        #expect(IPAddress("::10.0.0.1")?.unmapped.family == .ipv6)
        #expect(IPAddress("127.9.9.9")?.isLoopback == true)
        #expect(IPAddress("fe80::1")?.isLinkLocal == true)
        #expect(IPAddress("169.254.1.1")?.isLinkLocal == true)
    }
}
