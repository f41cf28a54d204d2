import Bytes
import NetTypes

/// The result codes of PCP that are told apart (RFC 6887 §7.4).
enum PCPResult {
    static let success: UInt8 = 0
    static let unsupportedVersion: UInt8 = 1
    static let notAuthorized: UInt8 = 2
    static let malformedRequest: UInt8 = 3
    static let unsupportedOpcode: UInt8 = 4
    static let unsupportedOption: UInt8 = 5
    static let noResources: UInt8 = 8
    static let unsupportedProtocol: UInt8 = 9
    static let cannotProvideExternal: UInt8 = 11
    static let addressMismatch: UInt8 = 12
}

/// 96 random bits that only we know: who has them may change the mapping (RFC 6887 §11.1).
struct PCPNonce: Hashable {
    let high: UInt64
    let low: UInt32

    static func random(using entropy: inout Entropy) -> PCPNonce {
        PCPNonce(high: entropy.next(), low: UInt32(truncatingIfNeeded: entropy.next()))
    }
}

/// What a MAP request and its response have in common (RFC 6887 §11.1).
struct PCPMap: Hashable {
    var nonce: PCPNonce
    var transport: UInt8
    var internalPort: UInt16
    /// Suggested in a request, assigned in a response.
    var external: SocketAddress

    static let byteCount = 36

    init(nonce: PCPNonce, transport: UInt8, internalPort: UInt16, external: SocketAddress) {
        self.nonce = nonce
        self.transport = transport
        self.internalPort = internalPort
        self.external = external
    }

    /// Reads 36 bytes.
    init(_ bytes: Span<UInt8>) {
        nonce = PCPNonce(high: bytes.bigEndianUInt64(at: 0), low: bytes.bigEndianUInt32(at: 8))
        transport = bytes[12]
        internalPort = bytes.bigEndianUInt16(at: 16)
        let ip = IPAddress(ipv6: bytes.bigEndianUInt64(at: 20), bytes.bigEndianUInt64(at: 28)).unmapped
        external = SocketAddress(ip, port: bytes.bigEndianUInt16(at: 18))
    }

    func write(into output: inout OutputSpan<UInt8>) {
        output.append(bigEndian: nonce.high)
        output.append(bigEndian: nonce.low)
        output.append(transport)
        output.append(zeros: 3)
        output.append(bigEndian: internalPort)
        output.append(bigEndian: external.port)
        external.ip.writePCP(into: &output)
    }
}

/// A PCP message, of either direction (RFC 6887 §7).
enum PCPMessage {
    static let version: UInt8 = 2
    static let announce: UInt8 = 0
    static let map: UInt8 = 1
    static let headerByteCount = 24
    static let maximumByteCount = 1100
    static let preferFailure: UInt8 = 2

    struct Response: Hashable {
        let version: UInt8
        let opcode: UInt8
        let result: UInt8
        let lifetimeSeconds: UInt32
        let epoch: UInt32
        let map: PCPMap?
    }

    struct Request: Hashable {
        let version: UInt8
        let opcode: UInt8
        let lifetimeSeconds: UInt32
        let client: IPAddress
        let map: PCPMap?
        let prefersFailure: Bool
    }

    static func request(_ map: PCPMap, lifetimeSeconds: UInt32, client: IPAddress) -> [UInt8] {
        buildBytes(capacity: headerByteCount + PCPMap.byteCount) { output in
            output.append(version)
            output.append(Self.map)
            output.append(zeros: 2)
            output.append(bigEndian: lifetimeSeconds)
            client.writePCP(into: &output)
            map.write(into: &output)
        }
    }

    static func response(_ response: Response) -> [UInt8] {
        buildBytes(capacity: headerByteCount + PCPMap.byteCount) { output in
            output.append(response.version)
            output.append(0x80 | response.opcode)
            output.append(0)
            output.append(response.result)
            output.append(bigEndian: response.lifetimeSeconds)
            output.append(bigEndian: response.epoch)
            output.append(zeros: 12)
            response.map?.write(into: &output)
        }
    }

    /// Reads a response of version 2, or what an older box says to it; `nil` if it is none.
    static func readResponse(_ bytes: Span<UInt8>) -> Response? {
        guard bytes.count >= 4, bytes[1] & 0x80 != 0 else { return nil }
        // Too old or too new: only the first bytes mean anything (RFC 6887 §9).
        if bytes[3] == PCPResult.unsupportedVersion, bytes.count < headerByteCount || bytes[0] != version {
            return Response(
                version: bytes[0],
                opcode: bytes[1] & 0x7F,
                result: bytes[3],
                lifetimeSeconds: 0,
                epoch: 0,
                map: nil
            )
        }
        guard bytes[0] == version, (headerByteCount...maximumByteCount).contains(bytes.count), bytes.count % 4 == 0
        else { return nil }
        return Response(
            version: version,
            opcode: bytes[1] & 0x7F,
            result: bytes[3],
            lifetimeSeconds: bytes.bigEndianUInt32(at: 4),
            epoch: bytes.bigEndianUInt32(at: 8),
            map: readMap(bytes)
        )
    }

    static func readRequest(_ bytes: Span<UInt8>) -> Request? {
        guard (headerByteCount...maximumByteCount).contains(bytes.count), bytes.count % 4 == 0, bytes[1] & 0x80 == 0
        else { return nil }
        let high = bytes.bigEndianUInt64(at: 8)
        let low = bytes.bigEndianUInt64(at: 16)
        let optionStart = headerByteCount + PCPMap.byteCount
        return Request(
            version: bytes[0],
            opcode: bytes[1] & 0x7F,
            lifetimeSeconds: bytes.bigEndianUInt32(at: 4),
            client: IPAddress(ipv6: high, low).unmapped,
            map: readMap(bytes),
            prefersFailure: bytes.count >= optionStart + 4 && bytes[optionStart] == preferFailure
        )
    }

    private static func readMap(_ bytes: Span<UInt8>) -> PCPMap? {
        guard bytes[1] & 0x7F == map, bytes.count >= headerByteCount + PCPMap.byteCount else { return nil }
        return PCPMap(bytes.extracting(headerByteCount..<headerByteCount + PCPMap.byteCount))
    }
}

extension IPAddress {
    /// Appends 16 bytes, IPv4 in its IPv4-mapped form (RFC 6887 §5).
    fileprivate func writePCP(into output: inout OutputSpan<UInt8>) {
        output.append(bigEndian: high)
        output.append(bigEndian: family == .ipv4 ? 0xFFFF_0000_0000 | low : low)
    }
}
