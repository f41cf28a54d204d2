import Bytes
import Crypto
import NetTypes
import STUN
import TURN

/// An attribute as it shall be sent, right or wrong.
struct RawAttribute {
    enum Value {
        case bytes([UInt8])
        /// An address that the message's transaction identifier masks.
        case xored(SocketAddress)
    }

    let type: AttributeType
    let value: Value
    /// What the padding is filled with: zero, unless the server's indifference is tested.
    var padding: UInt8 = 0

    init(_ type: AttributeType, _ bytes: [UInt8] = [], padding: UInt8 = 0) {
        self.type = type
        value = .bytes(bytes)
        self.padding = padding
    }

    init(_ type: AttributeType, xored address: SocketAddress) {
        self.type = type
        value = .xored(address)
    }
}

extension RawAttribute {
    /// A comprehension-required type that nobody has registered.
    static let unknownRequired = AttributeType(rawValue: 0x7F31)

    static func requestedTransport(_ number: UInt8 = 17) -> RawAttribute {
        RawAttribute(.requestedTransport, [number, 0, 0, 0])
    }
    static func family(_ number: UInt8, _ type: AttributeType = .requestedAddressFamily) -> RawAttribute {
        RawAttribute(type, [number, 0, 0, 0])
    }
    static func evenPort(reservesNext: Bool) -> RawAttribute { RawAttribute(.evenPort, [reservesNext ? 0x80 : 0]) }
    static func lifetime(_ seconds: UInt32) -> RawAttribute { RawAttribute(.lifetime, seconds.bigEndianBytes) }
    static func peer(_ address: SocketAddress) -> RawAttribute { RawAttribute(.xorPeerAddress, xored: address) }
    static func channel(_ number: UInt16) -> RawAttribute {
        RawAttribute(.channelNumber, [UInt8(number >> 8), UInt8(number & 255), 0, 0])
    }
    static func data(_ bytes: [UInt8]) -> RawAttribute { RawAttribute(.data, bytes) }
}

/// A message that is put together byte by byte, so that any part of it can be wrong on purpose.
struct RawMessage {
    private(set) var bytes: [UInt8]
    let transactionID: TransactionID
    /// What the log calls it.
    private(set) var name: String

    init(
        _ method: STUNMethod,
        _ messageClass: STUNClass = .request,
        _ attributes: [RawAttribute] = [],
        cookie: UInt32 = STUNFormat.magicCookie
    ) {
        var entropy = Entropy.system
        transactionID = .random(using: &entropy)
        let type = STUNMessageType(method, messageClass).rawValue
        bytes = [UInt8(type >> 8), UInt8(type & 255), 0, 0] + cookie.bigEndianBytes
        bytes += UInt32(truncatingIfNeeded: transactionID.high >> 32).bigEndianBytes
        bytes += UInt32(truncatingIfNeeded: transactionID.high).bigEndianBytes + transactionID.low.bigEndianBytes
        name = "\(method) \(messageClass)"
        for attribute in attributes { add(attribute) }
    }

    mutating func add(_ attribute: RawAttribute) {
        switch attribute.value {
        case .bytes(let value): append(attribute.type, value, padding: attribute.padding)
        case .xored(let address):
            let masked = transactionID.xor(address)
            var value: [UInt8] = [0, address.family.attributeNumber, UInt8(masked.port >> 8), UInt8(masked.port & 255)]
            value += buildBytes(capacity: masked.ip.byteCount) { masked.ip.write(into: &$0) }
            append(attribute.type, value)
        }
    }

    /// Appends MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 over what is there, cut to `byteCount` if given.
    mutating func addIntegrity(_ type: AttributeType, _ key: IntegrityKey, byteCount: Int? = nil, isWrong: Bool = false)
    {
        let hmac = type == .messageIntegrity ? key.sha1 : key.sha256
        let count = byteCount ?? hmac.hash.digestByteCount
        setLength(bytes.count - 20 + 4 + count)
        var code = Array(hmac.authenticationCode(for: bytes).prefix(count))
        if isWrong { code[0] ^= 0x55 }
        append(type, code)
    }

    mutating func addFingerprint(isWrong: Bool = false) {
        setLength(bytes.count - 20 + 8)
        let checksum = CRC32.checksum(bytes.span) ^ 0x5354_554E ^ (isWrong ? 1 : 0)
        append(.fingerprint, checksum.bigEndianBytes)
    }

    /// Says another length in the header than the message has.
    mutating func setLength(_ length: Int) {
        bytes[2] = UInt8(truncatingIfNeeded: length >> 8)
        bytes[3] = UInt8(truncatingIfNeeded: length)
    }

    /// Changes bytes in place, or puts some behind the end, whatever the header says.
    mutating func corrupt(_ what: String, _ body: (inout [UInt8]) -> Void) {
        body(&bytes)
        name += ", \(what)"
    }

    private mutating func append(_ type: AttributeType, _ value: [UInt8], padding: UInt8 = 0) {
        bytes += [UInt8(type.rawValue >> 8), UInt8(type.rawValue & 255)]
        bytes += [UInt8(truncatingIfNeeded: value.count >> 8), UInt8(truncatingIfNeeded: value.count)] + value
        while bytes.count % 4 != 0 { bytes.append(padding) }
        setLength(bytes.count - 20)
        name += (name.contains(" + ") ? ", " : " + ") + "\(type)"
    }
}

extension UInt32 {
    var bigEndianBytes: [UInt8] {
        [UInt8(self >> 24), UInt8(self >> 16 & 255), UInt8(self >> 8 & 255), UInt8(self & 255)]
    }
}
