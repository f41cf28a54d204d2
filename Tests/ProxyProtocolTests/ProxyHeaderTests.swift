import Bytes
import NetTypes
import TestSupport
import Testing

@testable import ProxyProtocol

private func read(_ bytes: [UInt8], pieces: Int = .max) -> ProxyHeaderReader.Progress {
    var reader = ProxyHeaderReader()
    var used = 0
    while used < bytes.count {
        let piece = Array(bytes[used..<min(bytes.count, used + min(pieces, bytes.count))])
        switch reader.receive(piece.span) {
        case .incomplete(let count):
            #expect(count == piece.count)
            used += count
        case .complete(let count, let header): return .complete(used + count, header)
        case .failed(let error): return .failed(error)
        }
    }
    return .incomplete(used)
}

private func read(_ text: String, pieces: Int = .max) -> ProxyHeaderReader.Progress {
    read(Array(text.utf8), pieces: pieces)
}

private func client(_ source: String, _ destination: String) throws -> ProxyHeader {
    .client(source: try #require(SocketAddress(source)), destination: try #require(SocketAddress(destination)))
}

@Suite struct TextHeaderTests {
    @Test(arguments: [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324", "198.51.100.2:443"),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
            "255.255.255.255:65535"
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "[2001:db8::1]:1", "[2001:db8::2]:2"),
    ])
    func `a line names the client`(line: String, source: String, destination: String) throws {
        let expected = try client(source, destination)
        for pieces in [1, 5, .max] {
            #expect(read(line + "GET /", pieces: pieces) == .complete(line.utf8.count, expected))
        }
    }

    @Test(arguments: ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 nonsense 1 2 3\r\n"])
    func `an unknown client is nobody`(line: String) {
        #expect(read(line) == .complete(line.utf8.count, .unknown))
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\n", ProxyHeaderError.absent), ("PROXZ TCP4", .absent), ("\u{16}\u{3}\u{1}", .absent),
        ("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", .badLine), ("PROXY \r\n", .badLine), ("PROXY TCP4\r\n", .badLine),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", .badLine), ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", .badLine),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", .badLine), ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n", .badLine),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", .badAddress), ("PROXY TCP4 ::1 1.2.3.4 1 2\r\n", .badAddress),
        ("PROXY TCP6 1.2.3.4 ::1 1 2\r\n", .badAddress), ("PROXY TCP4 1.2.3.4 x 1 2\r\n", .badAddress),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", .badPort), ("PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", .badPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", .badPort), ("PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n", .badPort),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n", .badPort),
        ("PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n", .tooLong),
    ])
    func `a line that is not right is refused`(text: String, error: ProxyHeaderError) {
        for pieces in [1, .max] { #expect(read(text, pieces: pieces) == .failed(error)) }
    }

    @Test func `the longest line has 107 bytes`() throws {
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        let longest = "PROXY TCP6 \(address) \(address) 65535 65535\r\n"
        #expect(longest.utf8.count == 104)
        #expect(read(longest) == .complete(104, try client("[\(address)]:65535", "[\(address)]:65535")))
        let padded = "PROXY UNKNOWN " + String(repeating: "x", count: 91) + "\r\n"
        #expect(read(padded) == .complete(107, .unknown))
        #expect(read("PROXY UNKNOWN " + String(repeating: "x", count: 92) + "\r\n") == .failed(.tooLong))
    }
}

@Suite struct BinaryHeaderTests {
    static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]
    private static let ipv4: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB]
    private static let ipv6: [UInt8] =
        [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1, 0x20, 1, 0x0D, 0xB8]
        + [UInt8](repeating: 0, count: 11) + [2, 0, 1, 0, 2]

    private static func header(_ command: UInt8, _ family: UInt8, _ body: [UInt8]) -> [UInt8] {
        signature + [command, family, UInt8(body.count >> 8), UInt8(body.count & 255)] + body
    }

    @Test func `IPv4 and IPv6 clients are named, whatever TLVs follow`() throws {
        let tlvs: [UInt8] = [0x04, 0, 2, 9, 9, 0xEE, 0, 0, 0x01, 0, 1, 0x68]
        for (family, addresses, source, destination) in [
            (UInt8(0x11), Self.ipv4, "192.0.2.1:56324", "198.51.100.2:443"),
            (0x21, Self.ipv6, "[2001:db8::1]:1", "[2001:db8::2]:2"),
        ] {
            let expected = try client(source, destination)
            for header in [Self.header(0x21, family, addresses), Self.header(0x21, family, addresses + tlvs)] {
                for pieces in [1, 7, .max] {
                    #expect(read(header + [0x16, 3, 1], pieces: pieces) == .complete(header.count, expected))
                }
            }
        }
    }

    @Test(arguments: [(UInt8(0x20), UInt8(0)), (0x20, 0x11), (0x21, 0x00), (0x21, 0x31)])
    func `a proxy that speaks for itself, or for nobody with an address, is itself`(command: UInt8, family: UInt8) {
        let body = family == 0x31 ? [UInt8](repeating: 0, count: 216) : []
        let header = Self.header(command, family, body)
        #expect(read(header + [1]) == .complete(header.count, .unknown))
    }

    @Test(arguments: [
        (UInt8(0x11), UInt8(0x11), ProxyHeaderError.badCommand), (0x31, 0x11, .badCommand), (0x22, 0x11, .badCommand),
        (0x2F, 0x11, .badCommand), (0x21, 0x12, .badFamily), (0x21, 0x22, .badFamily), (0x21, 0x10, .badFamily),
        (0x21, 0x32, .badFamily), (0x21, 0x41, .badFamily), (0x21, 0x03, .badFamily),
    ])
    func `every other command and family is refused`(command: UInt8, family: UInt8, error: ProxyHeaderError) {
        #expect(read(Self.header(command, family, Self.ipv4)) == .failed(error))
    }

    @Test func `lengths are checked`() {
        #expect(read(Self.header(0x21, 0x11, Array(Self.ipv4.dropLast()))) == .failed(.tooShort))
        #expect(read(Self.header(0x21, 0x21, Self.ipv4)) == .failed(.tooShort))
        #expect(read(Self.signature + [0x21, 0x11, 0xFF, 0xFF]) == .failed(.tooLong))
        #expect(read(Self.signature + [0x21, 0x11, 0x0F, 0xF1]) == .failed(.tooLong))
        let most = Self.header(0x20, 0, [UInt8](repeating: 0, count: 4080))
        #expect(read(most) == .complete(4096, .unknown))
        for tlv: [UInt8] in [[4], [4, 0], [4, 0, 1], [4, 0, 2, 1], [4, 0xFF, 0xFF, 1], [3, 0, 3, 1, 2, 3]] {
            #expect(read(Self.header(0x21, 0x11, Self.ipv4 + tlv)) == .failed(.badTLV))
        }
    }

    @Test func `the checksum is over the whole header with its own field as zeros`() throws {
        var header = Self.header(0x21, 0x11, Self.ipv4 + [4, 0, 1, 0, 3, 0, 4, 0, 0, 0, 0])
        #expect(read(header) == .failed(.badChecksum))
        let field = header.count - 4..<header.count
        let sum = BinaryHeader.checksum(of: header.span, zeroing: field)
        for (index, shift) in zip(field, [24, 16, 8, 0]) {
            header[index] = UInt8(truncatingIfNeeded: sum >> UInt32(shift))
        }
        #expect(read(header) == .complete(header.count, try client("192.0.2.1:56324", "198.51.100.2:443")))
        header[20] ^= 1
        #expect(read(header) == .failed(.badChecksum))
    }

    @Test func `the checksum is CRC-32C`() {
        // The check value of the catalogue: of the nine digits.
        #expect(BinaryHeader.checksum(of: Array("123456789".utf8).span, zeroing: 0..<0) == 0xE306_9283)
    }

    @Test(arguments: 0..<12)
    func `every byte of the signature counts`(index: Int) {
        var header = Self.header(0x20, 0, [])
        header[index] ^= 0x80
        #expect(read(header) == .failed(.absent))
    }
}

@Suite struct ProxyHeaderPropertyTests {
    @Test(arguments: seeds(300))
    func `random damage never depends on how it was cut`(seed: UInt64) {
        let texts = ["PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n"]
        let binary = BinaryHeaderTests.signature + [0x21, 0x11, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0, 0]
        var mutator = ByteMutator(corpus: texts.map { Array($0.utf8) } + [binary], seed: seed)
        for _ in 0..<10 {
            let input = mutator.next()
            #expect(read(input) == read(input, pieces: 1))
        }
    }
}
