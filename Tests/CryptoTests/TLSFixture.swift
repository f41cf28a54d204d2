import Bytes
import NetTypes
import Testing

@testable import Crypto

/// Identities, contexts and the wire between two sessions.
enum TLSFixture {
    static let now: Int64 = 1_790_000_000

    static let first = identity("first.example.com")
    static let second = identity("second.example.com", "*.wild.example.com")
    static let roots = ClientTrust.roots(pem: first.certificatePEM + second.certificatePEM)

    static func identity(_ names: String..., keyKind: Identity.KeyKind = .ecdsaP256) -> Identity {
        do {
            return try .selfSigned(
                commonName: "test",
                dnsNames: names,
                ipAddresses: [IPAddress(ipv4: 0xC000_0201), IPAddress(ipv6: 0x2001_0DB8_0000_0000, 1)],
                validForDays: 90,
                notBefore: now,
                keyKind: keyKind
            )
        } catch {
            fatalError("no identity: \(error)")
        }
    }

    static func server(
        _ identities: [Identity] = [first, second],
        protocols: [String] = [],
        versions: ClosedRange<TLSVersion> = .tls12 ... .tls13
    ) throws -> TLSSession {
        TLSSession(
            server: try TLSContext(serverIdentities: identities, applicationProtocols: protocols, versions: versions)
        )
    }

    static func client(
        _ serverName: String = "first.example.com",
        trust: ClientTrust = roots,
        protocols: [String] = [],
        versions: ClosedRange<TLSVersion> = .tls12 ... .tls13,
        at unixTime: Int64 = now
    ) throws -> TLSSession {
        let context = try TLSContext(clientTrust: trust, applicationProtocols: protocols, versions: versions)
        return TLSSession(client: context, serverName: serverName, verifyingAt: unixTime)
    }
}

extension TLSSession {
    /// Takes what is to be sent, in pieces of at most `size` bytes.
    mutating func transmit(atMost size: Int = 16_384) -> [UInt8] {
        var bytes: [UInt8] = []
        while hasPendingOutput {
            let before = bytes.count
            bytes += [UInt8](capacity: size) { pollTransmit(into: &$0) }
            guard bytes.count > before else { break }
        }
        return bytes
    }

    /// Feeds `bytes` in pieces of at most `size` bytes.
    mutating func receive(_ bytes: [UInt8], atMost size: Int = .max) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(size))
            rest = rest.dropFirst(piece.count)
            receive(piece.span)
        }
    }

    /// Reads all plaintext, and what ended it.
    mutating func readAll(atMost size: Int = 16_384) -> (bytes: [UInt8], end: TLSReadResult) {
        var bytes: [UInt8] = []
        while true {
            var result = TLSReadResult.wouldBlock
            let piece = [UInt8](capacity: size) { result = read(into: &$0) }
            guard case .bytes(let count) = result else { return (bytes, result) }
            #expect(count == piece.count)
            bytes += piece
        }
    }

    // The macros of the testing library take no non-copyable values: these expect in their place.

    mutating func mustWrite(_ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
        let isWritten = write(bytes.span)
        #expect(isWritten, sourceLocation: sourceLocation)
    }

    mutating func mustNotWrite(_ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
        let before = pendingOutputByteCount
        let isWritten = write(bytes.span)
        let after = pendingOutputByteCount
        #expect(!isWritten && before == after, sourceLocation: sourceLocation)
    }

    mutating func mustRead(
        _ expected: [UInt8],
        then expectedEnd: TLSReadResult,
        atMost size: Int = 16_384,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let (bytes, end) = readAll(atMost: size)
        #expect(bytes == expected, sourceLocation: sourceLocation)
        #expect(end == expectedEnd, sourceLocation: sourceLocation)
    }
}

/// Carries bytes both ways, in pieces of at most `size`, until both sides are silent.
func shuttle(_ first: inout TLSSession, _ second: inout TLSSession, atMost size: Int = .max) {
    while first.hasPendingOutput || second.hasPendingOutput {
        second.receive(first.transmit(atMost: min(size, 16_384)), atMost: size)
        first.receive(second.transmit(atMost: min(size, 16_384)), atMost: size)
    }
}
