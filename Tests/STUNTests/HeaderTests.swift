import Bytes
import NetTypes
import STUN
import Testing

@Suite struct HeaderTests {
    private static let header: [UInt8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42] + Array(1...12)

    @Test func `a header alone is a message`() throws {
        let bytes = Self.header
        let view = try STUNMessageView(bytes.span)
        let (type, id) = (view.type, view.transactionID)
        #expect(type == STUNMessageType(.binding, .request))
        #expect(id == TransactionID(high: 0x0102_0304_0506_0708, low: 0x090A_0B0C))
        #expect(id.description == "0102030405060708090a0b0c")
    }

    @Test(arguments: 0..<20)
    func `turn 5: fewer than 20 bytes are no message`(_ count: Int) {
        #expect(throws: STUNError.truncatedHeader(available: count)) {
            let bytes = Array(Self.header[..<count])
            _ = try STUNMessageView(bytes.span)
        }
    }

    @Test(arguments: [0x40, 0x80, 0xC0, 0xFF] as [UInt8])
    func `turn 1: a message begins with two zero bits`(_ first: UInt8) {
        var bytes = Self.header
        bytes[0] = first
        #expect(throws: STUNError.notSTUN(firstByte: first)) { _ = try STUNMessageView(bytes.span) }
    }

    @Test(arguments: 4..<8)
    func `turn 1: a message has the magic cookie`(_ index: Int) {
        var bytes = Self.header
        bytes[index] ^= 1
        let cookie = bytes.span.bigEndianUInt32(at: 4)
        #expect(throws: STUNError.badMagicCookie(cookie)) { _ = try STUNMessageView(bytes.span) }
    }

    @Test(arguments: [1, 2, 3])
    func `turn 2: the length is a multiple of four`(_ length: Int) {
        var bytes = Self.header + [UInt8](repeating: 0, count: length)
        bytes[3] = UInt8(length)
        #expect(throws: STUNError.unalignedLength(length)) { _ = try STUNMessageView(bytes.span) }
    }

    @Test(arguments: [(4, 0), (4, 3), (4, 5), (0, 4), (8, 4), (0xFFFC, 8)])
    func `turn 2, 5: the length is that of the datagram`(_ declared: Int, _ available: Int) {
        var bytes = Self.header + [UInt8](repeating: 0, count: available)
        bytes[2] = UInt8(declared >> 8)
        bytes[3] = UInt8(declared & 0xFF)
        #expect(throws: STUNError.lengthMismatch(declared: declared, available: available)) {
            _ = try STUNMessageView(bytes.span)
        }
    }

    @Test(arguments: [(1, 0), (4, 0), (5, 4), (9, 8), (0xFFFF, 4)])
    func `turn 5: an attribute ends inside the message`(_ length: Int, _ available: Int) {
        var bytes = Self.header + [0x80, 0x22, UInt8(length >> 8), UInt8(length & 0xFF)]
        bytes += [UInt8](repeating: 0, count: available)
        bytes[3] = UInt8(4 + available)
        #expect(throws: STUNError.attributeExceedsMessage(type: .software, length: length, available: available)) {
            _ = try STUNMessageView(bytes.span)
        }
    }

    @Test func `turn 3: every method and class survives the wire, and all 65536 types are told apart`() {
        var seen = Set<UInt16>()
        for number in 0...UInt16(0xFFF) {
            for messageClass in STUNClass.allCases {
                let type = STUNMessageType(STUNMethod(rawValue: number), messageClass)
                #expect(STUNMessageType(rawValue: type.rawValue) == type)
                seen.insert(type.rawValue)
            }
        }
        #expect(seen.count == 0x4000)
        for rawValue in 0...UInt16.max {
            #expect(STUNMessageType(rawValue: rawValue)?.rawValue == (rawValue < 0x4000 ? rawValue : nil))
        }
    }

    @Test(
        arguments: [
            (STUNMethod.binding, STUNClass.request, 0x0001), (.binding, .indication, 0x0011),
            (.binding, .success, 0x0101),
            (.binding, .error, 0x0111), (.allocate, .request, 0x0003), (.allocate, .success, 0x0103),
            (.allocate, .error, 0x0113), (.send, .indication, 0x0016), (.data, .indication, 0x0017),
            (.channelBind, .request, 0x0009), (STUNMethod(rawValue: 0xFFF), .error, 0x3FFF),
        ] as [(STUNMethod, STUNClass, UInt16)]
    )
    func `turn 3: types have the numbers of the RFCs`(_ method: STUNMethod, _ messageClass: STUNClass, _ number: UInt16)
    {
        #expect(STUNMessageType(method, messageClass).rawValue == number)
    }

    @Test func `turn 4: transaction identifiers differ and repeat only with the seed`() {
        var (first, second) = (Entropy.seeded(7), Entropy.seeded(7))
        #expect(TransactionID.random(using: &first) == TransactionID.random(using: &second))
        var system = Entropy.system
        let drawn = Set((0..<1000).map { _ in TransactionID.random(using: &system) })
        #expect(drawn.count == 1000)
    }
}
