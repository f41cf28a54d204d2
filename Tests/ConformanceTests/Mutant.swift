import Bytes
import Crypto
import NetTypes
import STUN
import TURN
import Testing

@testable import Conformance

/// One thing that a server may do wrong, and the rule that must notice.
struct Mutant: Sendable, CustomTestStringConvertible {
    typealias Send = @Sendable ([UInt8]) -> (forward: [UInt8]?, answers: [[UInt8]])
    typealias Receive = @Sendable ([UInt8]) -> [[UInt8]]

    let name: String
    let rule: Int
    var send: Send = { ($0, []) }
    var receive: Receive = { [$0] }

    var testDescription: String { "\(name) (turn \(rule))" }

    /// A server whose STUN messages differ, and are signed by it all the same.
    static func says(_ name: String, _ rule: Int, _ change: @escaping @Sendable (inout STUNMessage) -> Void) -> Mutant {
        Mutant(name: name, rule: rule, receive: { [rewrite($0, change)] })
    }

    /// A server whose bytes differ.
    static func writes(_ name: String, _ rule: Int, _ change: @escaping Receive) -> Mutant {
        Mutant(name: name, rule: rule, receive: change)
    }

    /// A server that reads something else than what was sent.
    static func reads(_ name: String, _ rule: Int, _ change: @escaping @Sendable ([UInt8]) -> [UInt8]?) -> Mutant {
        Mutant(name: name, rule: rule, send: { (change($0), []) })
    }

    /// A server that answers what it should not.
    static func answers(
        _ name: String,
        _ rule: Int,
        _ answer: @escaping @Sendable (STUNMessage) -> STUNMessage?
    ) -> Mutant {
        Mutant(
            name: name,
            rule: rule,
            send: { bytes in
                guard let message = try? STUNMessage(decoding: bytes.span), let response = answer(message),
                    let encoded = try? response.encoded()
                else { return (bytes, []) }
                return (nil, [encoded])
            }
        )
    }

    /// The key of the user, as SHA-256 makes it.
    static let key: IntegrityKey = {
        let account = TestRelay.account
        let text = "\(account.username):\(TestRelay.realm):\(account.password)"
        let bytes = MessageDigest.sha256(Array(text.utf8))
        return IntegrityKey(bytes.span)
    }()

    /// Changes a message and protects it as it was protected before.
    static func rewrite(_ bytes: [UInt8], _ change: (inout STUNMessage) -> Void) -> [UInt8] {
        guard let reply = Reply(bytes, from: SocketAddress(.loopback(.ipv4), port: 1)) else { return bytes }
        var message = reply.message
        change(&message)
        guard message != reply.message else { return bytes }
        let protection: MessageProtection =
            reply.has(.messageIntegritySHA256) ? .sha256(key) : reply.has(.messageIntegrity) ? .sha1(key) : .none
        return (try? message.encoded(protectedBy: protection, fingerprint: reply.has(.fingerprint))) ?? bytes
    }

    /// Leaves attributes out as they stand in the bytes, whatever protects them.
    static func strip(_ bytes: [UInt8], _ types: Set<AttributeType>) -> [UInt8] {
        guard let reply = Reply(bytes, from: SocketAddress(.loopback(.ipv4), port: 1)) else { return bytes }
        var stripped = Array(bytes.prefix(20))
        for (type, value, padding) in reply.attributes where !types.contains(type) {
            stripped += [UInt8(type.rawValue >> 8), UInt8(type.rawValue & 255)]
            stripped += [UInt8(value.count >> 8), UInt8(value.count & 255)] + value + padding
        }
        let length = stripped.count - 20
        (stripped[2], stripped[3]) = (UInt8(length >> 8), UInt8(length & 255))
        return stripped
    }
}

extension STUNMessage {
    subscript(type: AttributeType) -> [UInt8]? {
        get { attributes.first { $0.type == type }?.value }
        set {
            guard let index = attributes.firstIndex(where: { $0.type == type }) else { return }
            if let newValue { attributes[index].value = newValue } else { attributes.remove(at: index) }
        }
    }

    /// Says another error code where it says this one.
    mutating func replace(_ code: UInt8, with other: UInt8) {
        if self[.errorCode].map({ Array($0.prefix(4)) }) == [0, 0, 4, code] { self[.errorCode] = [0, 0, 4, other] }
    }
}

extension Mutant {
    static let all: [Mutant] = messages + protections + data + readings

    private static let messages: [Mutant] = [
        .says("a response one bit beside the client's port", 33) { $0[.xorMappedAddress]?[3] ^= 1 },
        .says("XOR-MAPPED-ADDRESS with a first byte", 40) { $0[.xorMappedAddress]?[0] = 1 },
        .says("a challenge without REALM", 57) { if $0.type.messageClass == .error { $0[.realm] = nil } },
        .says("one nonce for all", 58) { $0[.nonce] = Array("obMatJos2AAAAone".utf8) },
        .says("a nonce without its cookie", 56) { $0[.nonce] = Array("one nonce of the old kind".utf8) },
        .says("no PASSWORD-ALGORITHMS although announced", 59) { $0[.passwordAlgorithms] = nil },
        .says("UNKNOWN-ATTRIBUTES of RFC 3489", 49) { message in
            if let value = message[.unknownAttributes], value.count % 4 != 0 {
                message[.unknownAttributes] = value + value.suffix(2)
            }
        },
        .says("only one unknown attribute named", 28) { message in
            message[.unknownAttributes] = message[.unknownAttributes].map { Array($0.prefix(2)) }
        },
        .says("400 instead of 437", 99) { $0.replace(37, with: 0) },
        .says("401 instead of 400", 61) { $0.replace(0, with: 1) },
        .says("401 instead of 438", 66) { $0.replace(38, with: 1) },
        .says("400 instead of 442", 100) { $0.replace(42, with: 0) },
        .says("400 instead of 403", 123) { $0.replace(3, with: 0) },
        .says("437 instead of 441", 90) { $0.replace(41, with: 37) },
        .says("440 instead of 443", 122) { $0.replace(43, with: 40) },
        .says("no LIFETIME", 112) { $0[.lifetime] = nil },
        .says("any lifetime that is asked for", 111) { message in
            if message[.lifetime] == UInt32(3600).bigEndianBytes { message[.lifetime] = UInt32.max.bigEndianBytes }
        },
        .says("a deletion that is said to have time left", 116) { message in
            if message[.lifetime] == [0, 0, 0, 0] { message[.lifetime] = [0, 0, 2, 0x58] }
        },
        .says("no RESERVATION-TOKEN", 109) { $0[.reservationToken] = nil },
        .says("NONCE in a success", 67) { message in
            if message.type.messageClass == .success { message.attributes.append(.init(.nonce, [65])) }
        },
    ]

    private static let protections: [Mutant] = [
        .writes("responses without integrity", 43) { [strip($0, [.messageIntegrity, .messageIntegritySHA256])] },
        .writes("errors without integrity", 67) { bytes in
            [
                bytes[0] == 1 && bytes[1] & 0x10 != 0
                    ? strip(bytes, [.messageIntegrity, .messageIntegritySHA256]) : bytes
            ]
        },
        .writes("responses without FINGERPRINT", 39) { [strip($0, [.fingerprint])] },
        .writes("a wrong FINGERPRINT", 38) { bytes in
            guard bytes.count > 28, bytes[bytes.count - 8] == 0x80, bytes[bytes.count - 7] == 0x28 else {
                return [bytes]
            }
            return [bytes.dropLast() + [bytes[bytes.count - 1] ^ 1]]
        },
        .writes("padding that is not zero", 6) { bytes in
            guard let reply = Reply(bytes, from: SocketAddress(.loopback(.ipv4), port: 1)),
                let range = bytes.indices.dropLast(4).first(where: { $0 >= 20 && bytes[$0..<$0 + 2] == [0, 0x14] }),
                reply.has(.realm)
            else { return [bytes] }
            let count = Int(bytes[range + 3])
            guard count % 4 != 0 else { return [bytes] }
            var changed = bytes
            changed[range + 4 + count] = 0x20
            return [changed]
        },
    ]

    private static let data: [Mutant] = [
        .writes("a Data indication beside ChannelData", 130) { bytes in
            guard bytes[0] == 0x40 else { return [bytes] }
            let peer = RawAttribute.peer(SocketAddress(.loopback(.ipv4), port: 9))
            return [bytes, RawMessage(.data, .indication, [peer, .data([1])]).bytes]
        },
        .says("DATA with its padding", 130) { message in
            if let data = message[.data], data.count % 4 != 0 { message[.data] = data + [0] }
        },
        .says("another peer's port", 130) { message in message[.xorPeerAddress]?[3] ^= 1 },
        .writes("no Data indications", 112) { $0[0] == 0 && $0[1] == 0x17 ? [] : [$0] },
        .reads("empty ChannelData swallowed", 142) { $0.prefix(1) == [0x40] && $0.count == 4 ? nil : $0 },
        .reads("empty DATA swallowed", 126) { bytes in
            guard let message = try? STUNMessage(decoding: bytes.span), message[.data] == [] else { return bytes }
            return nil
        },
        .reads("reserved channels taken for others", 141) { bytes in
            bytes[0] == 0x50 ? [0x40, 0x23] + bytes.dropFirst(2) : bytes
        },
        .reads("short ChannelData filled up", 141) { bytes in
            bytes.prefix(4) == [0x40, 0x23, 0, 9] ? bytes + [UInt8](repeating: 0, count: 5) : bytes
        },
        .reads("Send indications with unknown attributes relayed", 29) { bytes in
            bytes[0] == 0 && bytes[1] == 0x16 ? strip(bytes, [RawAttribute.unknownRequired]) : bytes
        },
    ]

    private static let readings: [Mutant] = [
        .answers("Binding indications answered", 37) { message in
            guard message.type == STUNMessageType(.binding, .indication) else { return nil }
            return STUNMessage(STUNMessageType(.binding, .success), message.transactionID)
        },
        .answers("unknown methods answered", 25) { message in
            guard message.type.method.rawValue == 0x7A else { return nil }
            let error = STUNMessage.Attribute(.errorCode, [0, 0, 4, 0])
            return STUNMessage(STUNMessageType(message.type.method, .error), message.transactionID, attributes: [error])
        },
        .answers("Send without an allocation answered", 89) { message in
            guard message.type == STUNMessageType(.send, .indication) else { return nil }
            return STUNMessage(STUNMessageType(.send, .error), message.transactionID)
        },
        .reads("the magic cookie not looked at", 96) { bytes in
            bytes.count > 20 && bytes[0] == 0
                ? Array(bytes.prefix(4)) + [0x21, 0x12, 0xA4, 0x42] + bytes.dropFirst(8) : bytes
        },
        .reads("FINGERPRINT not looked at", 25) { strip($0, [.fingerprint]) },
        .reads("bytes behind the end not looked at", 5) { bytes in
            guard bytes.count >= 20, bytes[0] < 4 else { return bytes }
            return Array(bytes.prefix(20 + Int(bytes[2]) * 256 + Int(bytes[3])))
        },
        .reads("unknown attributes not looked at", 28) { bytes in
            bytes.count > 1 && bytes[1] == 1
                ? strip(bytes, Set((0x7F31...0x7F36).map { AttributeType(rawValue: $0) })) : bytes
        },
        .reads("attributes behind the integrity believed", 45) { bytes in
            guard let reply = Reply(bytes, from: SocketAddress(.loopback(.ipv4), port: 1)),
                reply.attributes.last?.type == .lifetime, var message = try? STUNMessage(decoding: bytes.span)
            else { return bytes }
            message[.lifetime] = [0, 0, 0, 0]
            return try? message.encoded(protectedBy: .sha256(key))
        },
    ]
}
