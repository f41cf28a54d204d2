import Bytes
import NetTypes
import STUN
import TURN

/// A STUN message that the server has sent, with its bytes for those who do not trust the decoder.
struct Reply {
    let bytes: [UInt8]
    let message: STUNMessage
    /// Where it came from.
    let source: SocketAddress

    /// Reads what arrived; `nil` if it is no STUN message.
    init?(_ bytes: [UInt8], from source: SocketAddress) {
        guard let message = try? STUNMessage(decoding: bytes.span) else { return nil }
        self.bytes = bytes
        self.message = message
        self.source = source
    }

    var method: STUNMethod { message.type.method }
    var messageClass: STUNClass { message.type.messageClass }

    /// Asks the view of the message, with which a closure can read any attribute.
    func read<Value>(_ body: (borrowing STUNMessageView) throws(STUNError) -> Value?) -> Value? {
        guard let view = try? STUNMessageView(bytes.span) else { return nil }
        return (try? body(view)) ?? nil
    }

    var errorCode: UInt16? { read { (view) throws(STUNError) in try view.errorCode()?.rawValue } }
    var lifetime: UInt32? { read { (view) throws(STUNError) in try view.lifetimeSeconds() } }
    /// Whether LIFETIME is as long as that, give or take the seconds that a request takes.
    func grants(_ seconds: UInt32) -> Bool { UInt64(lifetime ?? 0) + 2 >= UInt64(seconds) }
    var mappedAddress: SocketAddress? { read { (view) throws(STUNError) in try view.xorMappedAddress() } }
    var peerAddress: SocketAddress? { read { (view) throws(STUNError) in try view.xorPeerAddress() } }
    func relayedAddress(_ family: AddressFamily) -> SocketAddress? {
        read { (view) throws(STUNError) in try view.xorRelayedAddress(family) }
    }
    var relayedAddress: SocketAddress? { read { (view) throws(STUNError) in try view.xorRelayedAddress() } }

    func check(_ body: (borrowing STUNMessageView) -> ProtectionCheck) -> ProtectionCheck {
        guard let view = try? STUNMessageView(bytes.span) else { return .invalid }
        return body(view)
    }

    func has(_ type: AttributeType) -> Bool { read { (view) throws(STUNError) in view.contains(type) } ?? false }
    func value(_ type: AttributeType) -> [UInt8]? {
        read { (view) throws(STUNError) in
            guard let value = view.value(type) else { return nil }
            return value.toArray()
        }
    }
    /// The types and values of all attributes as they stand in the bytes, with their padding.
    var attributes: [(type: AttributeType, value: [UInt8], padding: [UInt8])] {
        var list: [(AttributeType, [UInt8], [UInt8])] = []
        var offset = STUNFormat.headerByteCount
        while offset + 4 <= bytes.count {
            let count = Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
            let end = offset + 4 + STUNFormat.padded(count)
            guard end <= bytes.count else { break }
            let type = AttributeType(rawValue: UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1]))
            list.append((type, Array(bytes[offset + 4..<offset + 4 + count]), Array(bytes[offset + 4 + count..<end])))
            offset = end
        }
        return list
    }

    /// What the log calls it.
    var name: String {
        let code = errorCode.map { " \($0)" } ?? ""
        let types = attributes.map { "\($0.type)" }.joined(separator: ", ")
        return "\(method) \(messageClass)\(code)" + (types.isEmpty ? "" : " + \(types)")
    }
}

/// What the server has sent of its own accord: relayed data.
enum Delivery: Equatable {
    case indication(peer: SocketAddress, data: [UInt8])
    case channelData(number: UInt16, data: [UInt8])
    /// Neither of them.
    case other(String)

    init(_ arrival: Arrival) {
        if let first = arrival.bytes.first, (64...79).contains(first), let frame = try? ChannelData(arrival.bytes.span)
        {
            self = .channelData(number: frame.channel.rawValue, data: Array(arrival.bytes[frame.payload]))
        } else if let reply = Reply(arrival.bytes, from: arrival.source) {
            if reply.method == .data, reply.messageClass == .indication, let peer = reply.peerAddress,
                let data = reply.value(.data)
            {
                self = .indication(peer: peer, data: data)
            } else {
                self = .other(reply.name)
            }
        } else {
            self = .other("\(arrival.bytes.count) bytes that are neither STUN nor ChannelData")
        }
    }

    /// What the log calls it.
    var name: String {
        switch self {
        case .indication(let peer, let data): "Data indication from \(peer), \(data.count) bytes"
        case .channelData(let number, let data): "ChannelData 0x\(String(number, radix: 16)), \(data.count) bytes"
        case .other(let name): name
        }
    }
}
