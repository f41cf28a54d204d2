import Bytes
import NetTypes
import STUN
import TURN
import Testing

/// A response as a client reads it.
struct Response {
    let bytes: [UInt8]
    let message: STUNMessage
    /// 0 for a success.
    let code: Int
    let hasSHA1: Bool
    let hasSHA256: Bool
    let hasFingerprint: Bool

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        let view = try STUNMessageView(bytes.span)
        message = STUNMessage(view)
        code = Int(try view.errorCode()?.rawValue ?? 0)
        hasSHA1 = view.contains(.messageIntegrity)
        hasSHA256 = view.contains(.messageIntegritySHA256)
        hasFingerprint = view.contains(.fingerprint)
    }

    /// The reason phrase of an error.
    var reason: String? { self[.errorCode].map { String(decoding: $0.dropFirst(4), as: UTF8.self) } }

    var isSuccess: Bool { message.type.messageClass == .success }

    subscript(type: AttributeType) -> [UInt8]? { message.attributes.first { $0.type == type }?.value }

    var types: Set<AttributeType> { Set(message.attributes.map(\.type)) }

    /// All XOR-RELAYED-ADDRESS attributes.
    var relayed: [SocketAddress] { addresses(.xorRelayedAddress) }
    var mapped: SocketAddress? { addresses(.xorMappedAddress).first }

    var lifetime: UInt32? {
        self[.lifetime].map { $0.reduce(0) { $0 << 8 | UInt32($1) } }
    }

    var token: UInt64? { self[.reservationToken].map { $0.reduce(0) { $0 << 8 | UInt64($1) } } }

    /// Whether it is protected with the key.
    func isProtected(_ protection: MessageProtection) throws -> Bool {
        let view = try STUNMessageView(bytes.span)
        switch protection {
        case .none, .both: return false
        case .sha1(let key): return view.checkMessageIntegrity(key) == .valid && !hasSHA256
        case .sha256(let key): return view.checkMessageIntegritySHA256(key) == .valid && !hasSHA1
        }
    }

    private func addresses(_ type: AttributeType) -> [SocketAddress] {
        do {
            let view = try STUNMessageView(bytes.span)
            var found: [SocketAddress] = []
            var iterator = view.attributes
            while let attribute = iterator.next() {
                if attribute.type == type { found.append(try view.xorAddress(in: attribute)) }
            }
            return found
        } catch {
            return []
        }
    }
}

extension STUNMessage.Attribute {
    static func text(_ type: AttributeType, _ text: String) -> Self { .init(type, Array(text.utf8)) }
    static func word(_ type: AttributeType, _ value: UInt32) -> Self {
        .init(type, buildBytes(capacity: 4) { $0.append(bigEndian: value) })
    }

    static func requestedTransport(_ number: UInt8) -> Self { .word(.requestedTransport, UInt32(number) << 24) }
    static func family(_ number: UInt8) -> Self { .word(.requestedAddressFamily, UInt32(number) << 24) }
    static func additional(_ number: UInt8) -> Self { .word(.additionalAddressFamily, UInt32(number) << 24) }
    static func evenPort(_ value: UInt8) -> Self { .init(.evenPort, [value]) }
    static func lifetime(_ seconds: UInt32) -> Self { .word(.lifetime, seconds) }
    static func channel(_ number: UInt16, reserved: UInt16 = 0) -> Self {
        .word(.channelNumber, UInt32(number) << 16 | UInt32(reserved))
    }
    static func token(_ value: UInt64) -> Self {
        .init(.reservationToken, buildBytes(capacity: 8) { $0.append(bigEndian: value) })
    }
    static var dontFragment: Self { .init(.dontFragment, []) }

    /// XOR-PEER-ADDRESS, XORed with the cookie only until `xored(with:)` completes it.
    static func peer(_ text: String) -> Self {
        guard let address = SocketAddress(text) else { return .init(.xorPeerAddress, []) }
        let bytes = buildBytes(capacity: 64) { output in
            var builder = STUNMessageBuilder(.send, .indication, TransactionID(high: 0, low: 0), into: &output)
            builder.append(.xorPeerAddress, xored: address, into: &output)
            _ = try? builder.finish(into: &output)
        }
        return .init(.xorPeerAddress, Array(bytes.dropFirst(24)))
    }

    /// The last 96 bits of an IPv6 peer address are masked by the transaction identifier (RFC 8489 §14.2).
    func xored(with transaction: TransactionID) -> Self {
        guard type == .xorPeerAddress, value.count == 20 else { return self }
        let mask = buildBytes(capacity: 12) { output in
            output.append(bigEndian: transaction.high)
            output.append(bigEndian: transaction.low)
        }
        return .init(type, value.prefix(8) + zip(value.dropFirst(8), mask).map { $0 ^ $1 })
    }
}

func address(_ text: String) -> SocketAddress { SocketAddress(text) ?? SocketAddress(.unspecified(.ipv4), port: 0) }
func ip(_ text: String) -> IPAddress { IPAddress(text) ?? .unspecified(.ipv4) }
