import Bytes
import CommandLineSupport
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import ServiceTestSupport
import Testing
import Transport

@testable import Server

/// The whole server with everything on one TLS port, and plain on another.
private final class OnePort {
    let server: FloeServer
    let secure: SocketAddress
    let plain: SocketAddress
    private let folder: TemporaryFolder

    init(_ words: [String] = []) throws {
        let folder = try TemporaryFolder()
        self.folder = folder
        (server, secure, plain) = try withFreePorts(3) { ports in
            let listening = [
                "--listen", "127.0.0.1", "--state", folder.path + "/state", "--turns-port", "0",
                "--turn-port", "\(ports[0])", "--https-port", "\(ports[1])", "--http-port", "\(ports[2])",
                "--relay-ports", "1024-1100",
            ]
            let options = try ServeOptions(ParsedArguments(listening + words, for: ServeCommand.specification))
            do {
                let server = try FloeServer(options, logger: .silent) { () throws(UsageError) in options }
                func address(_ port: UInt16) -> SocketAddress { SocketAddress(.loopback(.ipv4), port: port) }
                return (server, address(ports[1]), address(ports[2]))
            } catch {
                // Ports that were taken meanwhile; anything else comes again.
                throw SocketError(.listen(.tcp), at: nil, number: 98)
            }
        }
    }

    deinit { server.stop() }

    func stream(_ protocols: [String]?, preface: [UInt8] = []) throws -> StreamClient {
        guard let protocols else { return try StreamClient(to: plain, preface: preface) }
        let tls = try TLSContext(clientTrust: .anything, applicationProtocols: protocols)
        return try StreamClient(to: secure, tls: tls, preface: preface)
    }
}

@Suite(.serialized) struct OnePortTests {
    private static let binding: [UInt8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42] + Array(1...12)

    /// Sends a Binding request; returns the address in the answer.
    private func bind(_ stream: StreamClient) throws -> SocketAddress? {
        try stream.send(Self.binding)
        var answer: [UInt8] = []
        while answer.count < 32, let bytes = try stream.receive() { answer += bytes }
        #expect(answer.starts(with: [1, 1]))
        // The first attribute is XOR-MAPPED-ADDRESS of IPv4.
        guard answer.count >= 32, answer[20...25].elementsEqual([0, 0x20, 0, 8, 0, 1]) else { return nil }
        let port = answer.span.bigEndianUInt16(at: 26) ^ 0x2112
        return SocketAddress(IPAddress(ipv4: answer.span.bigEndianUInt32(at: 28) ^ 0x2112_A442), port: port)
    }

    private func isServedPage(_ stream: StreamClient) throws -> Bool {
        try stream.send(Array("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
        return String(decoding: try stream.receive() ?? [], as: UTF8.self).hasPrefix("HTTP/1.1 200 OK\r\n")
    }

    @Test func `turn 198, 199: STUN and HTTP share a TLS port, by ALPN or by their first byte, and a plain one`() throws
    {
        let floe = try OnePort()
        for protocols: [String]? in [["stun.turn"], ["stun.nat-discovery"], [], nil] {
            let stream = try floe.stream(protocols)
            #expect(try bind(stream) == stream.localAddress)
            // The second request comes when the relay has the stream.
            #expect(try bind(stream) == stream.localAddress)
            if let name = protocols?.first { #expect(stream.applicationProtocol == name) }
        }
        for protocols: [String]? in [["http/1.1"], ["h2", "http/1.1"], [], nil] {
            let stream = try floe.stream(protocols)
            #expect(try isServedPage(stream))
            #expect(try isServedPage(stream))
            #expect(stream.applicationProtocol == protocols?.last)
        }
        #expect(throws: ClientError.failed(.tls(.alertReceived(.noApplicationProtocol)))) { try floe.stream(["h3"]) }
    }

    @Test func `what was agreed on by ALPN counts, not the first byte`() throws {
        let floe = try OnePort()
        let stream = try floe.stream(["http/1.1"])
        try stream.send(Self.binding + Array("\r\n\r\n".utf8))
        #expect(String(decoding: try stream.receive() ?? [], as: UTF8.self).hasPrefix("HTTP/1.1 400 "))
    }

    @Test func `behind a load balancer the client is who the header says`() throws {
        let floe = try OnePort(["--proxy-protocol-from", "127.0.0.0/8"])
        let text = Array("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".utf8)
        let binary: [UInt8] =
            [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10, 0x21, 0x11, 0, 12]
            + [192, 0, 2, 7, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB]
        #expect(try bind(floe.stream(["stun.turn"], preface: text)) == SocketAddress("192.0.2.1:56324"))
        #expect(try bind(floe.stream([], preface: binary)) == SocketAddress("192.0.2.7:56324"))
        #expect(try bind(floe.stream(nil, preface: text)) == SocketAddress("192.0.2.1:56324"))
        #expect(try isServedPage(floe.stream(["http/1.1"], preface: binary)))
        #expect(throws: ClientError.self) { try floe.stream(["http/1.1"]) }
    }

    @Test func `a client gets the certificate that has its name`() throws {
        let folder = try TemporaryFolder()
        var words: [String] = []
        var identities: [Identity] = []
        for name in ["first.example.org", "*.example.net"] {
            let identity = try Identity.selfSigned(
                commonName: "test",
                dnsNames: [name],
                validForDays: 2,
                notBefore: Int64(WallClock.unixSeconds()) - 3600
            )
            let file = "\(identities.count)"
            try folder.write(identity.certificatePEM, to: file + ".pem")
            try folder.write(identity.privateKeyPEM, to: file + ".key")
            try folder.setMode(0o600, of: file + ".key")
            words += ["--cert", "\(folder.path)/\(file).pem", "--key", "\(folder.path)/\(file).key"]
            identities.append(identity)
        }
        let floe = try OnePort(words)
        for (index, name) in [(0, "first.example.org"), (1, "call.example.net")] {
            let trust = ClientTrust.roots(pem: identities[index].certificatePEM)
            let tls = try TLSContext(clientTrust: trust, applicationProtocols: ["http/1.1"])
            #expect(try isServedPage(StreamClient(to: floe.secure, tls: tls, serverName: name)))
            let other = index == 0 ? "call.example.net" : "first.example.org"
            #expect(throws: ClientError.self) { try StreamClient(to: floe.secure, tls: tls, serverName: other) }
        }
    }
}
