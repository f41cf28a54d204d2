import NetTypes
import Testing

@testable import Crypto

@Suite struct TLSTransferTests {
    @Test(arguments: [TLSVersion.tls12, .tls13])
    func `A mebibyte arrives whole in each direction`(version: TLSVersion) throws {
        var pair = try pair(version)
        var entropy = Entropy.seeded(1)
        let data = entropy.bytes(1 << 20)
        for step in stride(from: 0, to: data.count, by: 10_000) {
            let piece = Array(data[step..<min(step + 10_000, data.count)])
            pair.client.mustWrite(piece)
            pair.server.mustWrite(piece)
            let ciphertexts = (pair.client.transmit(), pair.server.transmit())
            pair.server.receive(ciphertexts.0, atMost: 1500)
            pair.client.receive(ciphertexts.1, atMost: 1500)
            pair.server.mustRead(piece, then: .wouldBlock, atMost: 333)
            pair.client.mustRead(piece, then: .wouldBlock)
        }
    }

    @Test func `One write may be larger than a record, and waits whole`() throws {
        var pair = try pair()
        let data = [UInt8](repeating: 7, count: 100_000)
        pair.client.mustWrite(data)
        var received: [UInt8] = []
        while pair.client.hasPendingOutput {
            pair.server.receive([UInt8](capacity: 1000) { pair.client.pollTransmit(into: &$0) })
            received += pair.server.readAll().bytes
        }
        #expect(received == data)
    }

    @Test func `Writing nothing succeeds and sends nothing`() throws {
        var pair = try pair()
        pair.client.mustWrite([])
        let hasOutput = pair.client.hasPendingOutput
        #expect(!hasOutput)
    }

    @Test func `Output appends behind what the span has`() throws {
        var pair = try pair()
        pair.client.mustWrite([1, 2, 3])
        let whole = [UInt8](capacity: 4096) {
            $0.append(0xFF)
            pair.client.pollTransmit(into: &$0)
        }
        #expect(whole.first == 0xFF)
        pair.server.receive(Array(whole.dropFirst()))
        var result = TLSReadResult.wouldBlock
        let read = [UInt8](capacity: 8) {
            $0.append(0xEE)
            result = pair.server.read(into: &$0)
        }
        #expect(result == .bytes(3))
        #expect(read == [0xEE, 1, 2, 3])
    }

    @Test func `More than the limit is not written, and nothing of it is sent`() throws {
        var pair = try pair()
        let data = [UInt8](repeating: 1, count: 1 << 20)
        for _ in 0..<3 { pair.client.mustWrite(data) }
        let before = pair.client.pendingOutputByteCount
        pair.client.mustNotWrite(data)
        let after = pair.client.pendingOutputByteCount
        #expect(before == after && after <= TLSSession.pendingOutputLimit)
        var count = 0
        while pair.client.hasPendingOutput {
            pair.server.receive([UInt8](capacity: 16_384) { pair.client.pollTransmit(into: &$0) })
            count += pair.server.readAll().bytes.count
        }
        #expect(count == 3 << 20)
        pair.client.mustWrite(data)
    }

    @Test func `Input that nobody reads ends the session at its limit`() throws {
        var pair = try pair()
        pair.client.mustWrite([UInt8](repeating: 1, count: 200_000))
        pair.server.receive(pair.client.transmit(), atMost: 10_000)
        pair.server.mustRead([], then: .failed(.inputNotRead(limitBytes: TLSSession.unreadLimit)))
    }

    @Test func `What a session sends unasked is bounded`() throws {
        // No peer makes OpenSSL answer without end, but a chain of certificates can be too long.
        let chain = String(repeating: TLSFixture.first.certificatePEM, count: 300)
        let identity = try Identity(certificatePEM: chain, privateKeyPEM: TLSFixture.first.privateKeyPEM)
        var server = try TLSFixture.server([identity])
        var client = try TLSFixture.client()
        server.receive(client.transmit())
        let (failure, pending) = (server.failure, server.pendingOutputByteCount)
        #expect(failure == .outputOverflow)
        #expect(pending <= 65_536)
    }

    @Test func `Keys are changed after many records, and nothing is lost (RFC 8446 §5.5)`() throws {
        var pair = try pair()
        pair.client.recordsPerKey = 3
        var sizes: [Int] = []
        for index in 0..<12 {
            pair.client.mustWrite([UInt8(index)])
            let ciphertext = pair.client.transmit()
            sizes.append(ciphertext.count)
            pair.server.receive(ciphertext)
            pair.server.mustRead([UInt8(index)], then: .wouldBlock)
            pair.server.mustWrite([UInt8(index)])
            pair.client.receive(pair.server.transmit())
            pair.client.mustRead([UInt8(index)], then: .wouldBlock)
        }
        let plain = try #require(sizes.min())
        #expect(sizes.filter { $0 > plain }.count == 3)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func `Each direction is closed on its own`(version: TLSVersion) throws {
        var pair = try pair(version)
        pair.client.mustWrite([1])
        pair.client.close()
        pair.client.close()
        let isClosed = pair.client.isClosed
        #expect(isClosed)
        pair.client.mustNotWrite([2])
        pair.server.receive(pair.client.transmit())
        pair.server.mustRead([1], then: .closed)
        pair.server.mustRead([], then: .closed)
        pair.server.mustWrite([3])
        pair.server.close()
        pair.client.receive(pair.server.transmit())
        pair.client.mustRead([3], then: .closed)
        let failures = (pair.client.failure, pair.server.failure)
        #expect(failures.0 == nil && failures.1 == nil)
    }

    @Test func `Closing before the handshake is complete sends nothing and writes nothing`() throws {
        var server = try TLSFixture.server()
        server.close()
        let hasOutput = server.hasPendingOutput
        #expect(!hasOutput)
        server.mustNotWrite([1])
    }

    @Test func `A transfer cut off is not taken for closed`() throws {
        var pair = try pair()
        pair.client.mustWrite([UInt8](repeating: 9, count: 1000))
        pair.server.receive(pair.client.transmit().dropLast())
        pair.server.mustRead([], then: .wouldBlock)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func `An altered record is refused, and the peer is told`(version: TLSVersion) throws {
        var pair = try pair(version)
        pair.client.mustWrite([1, 2, 3])
        var record = pair.client.transmit()
        record[record.count - 1] ^= 1
        pair.server.receive(record)
        guard case .failed(.protocolViolation) = pair.server.readAll().end else { Issue.record("not refused"); return }
        pair.server.mustNotWrite([1])
        pair.client.receive(pair.server.transmit())
        guard case .failed(.alertReceived) = pair.client.readAll().end else { Issue.record("not told"); return }
    }

    @Test func `Another protocol on the port is named as such`() throws {
        for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\0\u{1}\0\0!\u{12}$Babcdefgh"] {
            var server = try TLSFixture.server()
            server.receive(Array(text.utf8))
            server.mustRead([], then: .failed(.notTLS))
        }
    }

    @Test func `A handshake without end fails at its limit`() throws {
        var server = try TLSFixture.server()
        // A ClientHello that says that it is 130,000 bytes long, in records of 1,000.
        let hello: [UInt8] = [1, 0x01, 0xFB, 0xD0]
        var total = 0
        while server.failure == nil, total < 200_000 {
            let body = (total == 0 ? hello : []) + [UInt8](repeating: 0, count: 1000)
            server.receive([22, 3, 1, UInt8(body.count >> 8), UInt8(body.count & 255)] + body)
            total += body.count
        }
        #expect(total <= TLSSession.handshakeLimit + 2000)
        let failure = server.failure
        #expect(failure == .handshakeTooLarge(limitBytes: TLSSession.handshakeLimit))
    }

    private func pair(_ version: TLSVersion = .tls13) throws -> Pair {
        var pair = try Pair(
            client: TLSFixture.client(versions: version...version),
            server: TLSFixture.server(versions: version...version)
        )
        shuttle(&pair.client, &pair.server)
        let areEstablished = (pair.client.isEstablished, pair.server.isEstablished)
        try #require(areEstablished.0 && areEstablished.1)
        return pair
    }
}

/// Two ends of one connection.
private struct Pair: ~Copyable {
    var client: TLSSession
    var server: TLSSession
}
