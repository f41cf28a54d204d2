import Bytes
public import NetTypes

/// What a server makes of a datagram before it keeps anything about its sender.
public enum DTLSHelloVerdict: Equatable, Sendable {
    /// No ClientHello begins here: it is for an association that exists, or for nobody.
    case notHello
    /// A ClientHello that no client sends.
    case malformed
    /// A ClientHello without proof; the answer that was written asks for it.
    case unproven
    /// A ClientHello with a cookie that came back from where it was sent to.
    ///
    /// The tag tells a handshake from another one of the same client; a ClientHello that is repeated has the same.
    case proven(tag: UInt64)
}

/// The stateless cookies with which a DTLS server lets clients prove their address (RFC 6347 §4.2.1).
///
/// A cookie is bound to both addresses, to the client's random value and to time: it is good for 30 to 60 seconds. Shards
/// that share a port share the key, and it outlives the certificates. The answer to an unproven ClientHello is shorter
/// than any of those.
public struct DTLSCookies: Sendable {
    private let key: HMACKey

    /// How many bytes the answer to a ClientHello without proof has: a HelloVerifyRequest.
    public static let answerByteCount = 44
    private static let cookieByteCount = 16
    private static let windowSeconds: UInt64 = 30

    /// Makes cookies with a key of their own; `entropy` must be `.system` except in tests.
    public init(entropy: inout Entropy) { key = HMACKey(.sha256, key: entropy.bytes(32)) }

    /// Whether a datagram begins with a ClientHello, so that it must be judged; all others are `.notHello`.
    public static func concerns(_ datagram: Span<UInt8>) -> Bool { ClientHelloStart.isOne(datagram) }

    /// Judges the first record of a datagram and answers it if that is called for, with `answerByteCount` bytes.
    public func judge(
        _ datagram: Span<UInt8>,
        from client: SocketAddress,
        to server: SocketAddress,
        at now: Instant,
        answer: inout OutputSpan<UInt8>
    ) -> DTLSHelloVerdict {
        guard ClientHelloStart.isOne(datagram) else { return .notHello }
        guard let hello = ClientHelloStart(datagram) else { return .malformed }
        let random = datagram.extracting(hello.random)
        let window = now.nanoseconds / (Self.windowSeconds * 1_000_000_000)
        let cookie = datagram.extracting(hello.cookie)
        if cookie.count == Self.cookieByteCount {
            for age in 0...min(1, window) {
                let expected = self.cookie(random, client, server, window: window - age)
                if constantTimeEqual(expected.span, cookie) {
                    // The client has seen one HelloVerifyRequest; OpenSSL goes on with message 1 only.
                    guard hello.messageSequence == 1 else { return .malformed }
                    return .proven(tag: cookie.bigEndianUInt64(at: 0))
                }
            }
        }
        guard answer.freeCapacity >= Self.answerByteCount, datagram.count > Self.answerByteCount else {
            return .malformed
        }
        let fresh = self.cookie(random, client, server, window: window)
        Self.writeVerifyRequest(fresh.span, recordSequence: datagram.extracting(5..<11), into: &answer)
        return .unproven
    }

    private func cookie(
        _ random: Span<UInt8>,
        _ client: SocketAddress,
        _ server: SocketAddress,
        window: UInt64
    ) -> [UInt8] {
        var code = key.begin()
        let parts = [UInt8](capacity: 64) { output in
            output.append(bigEndian: window)
            for address in [client.unmapped, server.unmapped] {
                output.append(address.family.rawValue)
                output.append(bigEndian: address.ip.high)
                output.append(bigEndian: address.ip.low)
                output.append(bigEndian: address.port)
            }
        }
        code.update(parts.span)
        code.update(random)
        return Array(code.finish().prefix(Self.cookieByteCount))
    }

    /// Writes a HelloVerifyRequest (RFC 6347 §4.2.1): version 1.0 whatever will be spoken, and the sequence number of
    /// the record that it answers.
    private static func writeVerifyRequest(
        _ cookie: Span<UInt8>,
        recordSequence: Span<UInt8>,
        into output: inout OutputSpan<UInt8>
    ) {
        let body = UInt16(3 + cookie.count)
        output.append(22)
        output.append(bigEndian: 0xFEFF as UInt16)
        output.append(bigEndian: 0 as UInt16)
        output.append(contentsOf: recordSequence)
        output.append(bigEndian: 12 + body)
        output.append(3)
        output.append(0)
        output.append(bigEndian: body)
        output.append(bigEndian: 0 as UInt16)
        output.append(zeros: 3)
        output.append(0)
        output.append(bigEndian: body)
        output.append(bigEndian: 0xFEFF as UInt16)
        output.append(UInt8(cookie.count))
        output.append(contentsOf: cookie)
    }
}

/// The first fragment of a ClientHello as far as the cookie, which stands near its beginning.
///
/// A ClientHello may be longer than a datagram; what follows is for the session, which puts it together.
struct ClientHelloStart {
    let messageSequence: UInt16
    let random: Range<Int>
    let cookie: Range<Int>

    private static let recordHeader = 13
    private static let messageHeader = 12

    /// Whether a datagram begins with the first fragment of a ClientHello, in the clear.
    static func isOne(_ datagram: Span<UInt8>) -> Bool {
        datagram.count >= recordHeader + messageHeader && datagram[0] == 22 && datagram[1] == 0xFE
            && datagram.bigEndianUInt16(at: 3) == 0 && datagram[recordHeader] == 1
            && datagram.bigEndianUInt16(at: 19) == 0 && datagram[21] == 0
    }

    init?(_ datagram: Span<UInt8>) {
        let record = Int(datagram.bigEndianUInt16(at: 11))
        let length = Int(datagram[14]) << 16 | Int(datagram.bigEndianUInt16(at: 15))
        let fragment = Int(datagram[22]) << 16 | Int(datagram.bigEndianUInt16(at: 23))
        let start = Self.recordHeader + Self.messageHeader
        let end = start + fragment
        guard record >= Self.messageHeader + fragment, Self.recordHeader + record <= datagram.count,
            fragment <= length, fragment >= 36, datagram[start] == 0xFE
        else { return nil }
        messageSequence = datagram.bigEndianUInt16(at: 17)
        random = start + 2..<start + 34
        let session = start + 35 + Int(datagram[start + 34])
        guard session < end else { return nil }
        cookie = session + 1..<session + 1 + Int(datagram[session])
        guard cookie.upperBound <= end else { return nil }
    }
}

/// The records of a datagram, as far as their headers are in the clear.
enum DTLSRecords {
    /// How many bytes the first record has with its header; those of the datagram if it says more.
    static func firstByteCount(_ datagram: Span<UInt8>) -> Int {
        guard datagram.count >= 13 else { return datagram.count }
        return min(datagram.count, 13 + Int(datagram.bigEndianUInt16(at: 11)))
    }

    /// How many records are encrypted: of another epoch than 0.
    static func encryptedCount(_ datagram: Span<UInt8>) -> Int {
        var count = 0
        var rest = datagram
        while rest.count >= 13 {
            if rest.bigEndianUInt16(at: 3) != 0 { count += 1 }
            rest = rest.extracting(firstByteCount(rest)...)
        }
        return count
    }
}
