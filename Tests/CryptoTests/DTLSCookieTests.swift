import Bytes
import NetTypes
import TestSupport
import Testing

@testable import Crypto

/// What a server does before it keeps anything: cookies that only the owner of an address can bring back.
@Suite struct DTLSCookieTests {
    private let client = DTLSWorld.clientAddress
    private let server = DTLSWorld.serverAddress
    private let start = Instant.zero + .seconds(1000)
    private let cookies: DTLSCookies

    init() {
        var entropy = Entropy.seeded(1)
        cookies = DTLSCookies(entropy: &entropy)
    }

    private func judge(
        _ datagram: [UInt8],
        from client: SocketAddress? = nil,
        to server: SocketAddress? = nil,
        after seconds: UInt64 = 0
    ) -> (DTLSHelloVerdict, [UInt8]) {
        var verdict = DTLSHelloVerdict.notHello
        let answer = [UInt8](capacity: 100) { output in
            verdict = cookies.judge(
                datagram.span,
                from: client ?? self.client,
                to: server ?? self.server,
                at: start + .seconds(seconds),
                answer: &output
            )
        }
        return (verdict, answer)
    }

    /// A ClientHello as a client sends it first, and once more with the cookie of the answer.
    private func hellos() throws -> (first: [UInt8], second: [UInt8]) {
        let context = try DTLSContext(clientTrust: .anything)
        var session = DTLSSession(client: context, serverName: "first.example.com", at: start)
        let first = [UInt8](capacity: 2048) { _ = session.pollTransmit(into: &$0) }
        _ = session.take(judge(first).1, at: start)
        return (first, [UInt8](capacity: 2048) { _ = session.pollTransmit(into: &$0) })
    }

    @Test func `A ClientHello without a cookie gets a shorter answer that asks for it (turn 196)`() throws {
        let (first, _) = try hellos()
        let (verdict, answer) = judge(first)
        #expect(verdict == .unproven)
        #expect(answer.count == DTLSCookies.answerByteCount && answer.count < first.count)
        // The record's sequence number comes back (RFC 6347 §4.2.1).
        #expect(answer[5..<11] == first[5..<11])
    }

    @Test func `The cookie is good from the same address, for a minute at most`() throws {
        let (_, second) = try hellos()
        guard case .proven(let tag) = judge(second).0 else {
            Issue.record("the cookie was not accepted")
            return
        }
        #expect(judge(second, after: 25).0 == .proven(tag: tag))
        #expect(judge(second, after: 61).0 == .unproven)
        let otherHost = SocketAddress(IPAddress(ipv4: 0x0A00_0002), port: client.port)
        #expect(judge(second, from: otherHost).0 == .unproven)
        #expect(judge(second, from: SocketAddress(client.ip, port: client.port + 1)).0 == .unproven)
        #expect(judge(second, to: SocketAddress(server.ip, port: 3478)).0 == .unproven)
        let mapped = SocketAddress(IPAddress(ipv6: 0, 0xFFFF_0A00_0001), port: client.port)
        #expect(judge(second, from: mapped).0 == .proven(tag: tag))
    }

    @Test func `A cookie belongs to the handshake for which it was made`() throws {
        var (_, second) = try hellos()
        second[13 + 12 + 2 + 9] ^= 1
        #expect(judge(second).0 == .unproven)
    }

    @Test func `What is no ClientHello is left to the associations`() throws {
        let (first, _) = try hellos()
        var later = first
        later[21] = 1
        var encrypted = first
        encrypted[4] = 1
        let alert = [23] + first[1...]
        for other in [[], [22], later, encrypted, [UInt8](repeating: 22, count: 100), Array(alert)] {
            let (verdict, answer) = judge(other)
            #expect(verdict == .notHello && answer.isEmpty)
        }
    }

    @Test func `No datagram traps or gets a longer answer, and none proves anything without the cookie`() throws {
        let (first, second) = try hellos()
        var mutator = ByteMutator(corpus: [first, second], seed: 7)
        for _ in 0..<20_000 {
            let datagram = mutator.next()
            let (verdict, answer) = judge(datagram)
            #expect(answer.isEmpty == (verdict != .unproven))
            #expect(answer.isEmpty || answer.count < datagram.count)
            if case .proven = verdict { #expect(datagram.count >= 61) }
        }
        for count in 0..<second.count {
            let (verdict, answer) = judge(Array(second[..<count]))
            #expect(verdict == (count < 25 ? .notHello : .malformed) && answer.isEmpty)
        }
    }
}
