import Bytes
import NetTypes
import STUN
import Testing

@Suite struct AttributeRuleTests {
    @Test func `turn 8: the first of two attributes counts`() throws {
        let bytes = Messages.raw([(.priority, [0, 0, 0, 1]), (.software, [65]), (.priority, [0, 0, 0, 2])])
        let priority = try STUNMessageView(bytes.span).priority()
        #expect(priority == 1)
    }

    @Test func `a walk shows duplicates too, in order`() throws {
        let bytes = Messages.raw([(.priority, [0, 0, 0, 1]), (.software, [65]), (.priority, [0, 0, 0, 2])])
        let message = try STUNMessage(decoding: bytes.span)
        #expect(message.attributes.map(\.type) == [.priority, .software, .priority])
        #expect(message.attributes.map(\.value) == [[0, 0, 0, 1], [65], [0, 0, 0, 2]])
    }

    @Test func `turn 6: padding is ignored when read`() throws {
        let bytes = Messages.raw([(.software, Array("abcde".utf8)), (.realm, Array("r".utf8))])
        #expect(bytes.contains(0xEE))
        let view = try STUNMessageView(bytes.span)
        let (software, realm) = (view.string(.software), view.string(.realm))
        #expect(software == "abcde")
        #expect(realm == "r")
    }

    @Test func `turn 7: types from 0x8000 on are comprehension-optional`() {
        #expect(AttributeType(rawValue: 0).isComprehensionRequired)
        #expect(AttributeType(rawValue: 0x7FFF).isComprehensionRequired)
        #expect(!AttributeType(rawValue: 0x8000).isComprehensionRequired)
        #expect(!AttributeType(rawValue: 0xFFFF).isComprehensionRequired)
    }

    @Test func `turn 45: attributes after MESSAGE-INTEGRITY are ignored`() throws {
        let message = try Messages.built([.init(.username, [97])], protectedBy: .sha1(Messages.key))
        let bytes = Messages.extended(message, by: [(.priority, [0, 0, 0, 0]), (.username, [98]), (.realm, [99])])
        let view = try STUNMessageView(bytes.span)
        let (priority, username, hasRealm) = (try view.priority(), view.string(.username), view.contains(.realm))
        #expect(priority == nil)
        #expect(username == "a")
        #expect(!hasRealm)
        #expect(STUNMessage(view).attributes.map(\.type) == [.username])
        let integrity = view.checkMessageIntegrity(Messages.key)
        #expect(integrity == .valid)
    }

    @Test func `turn 45: an unknown required attribute after MESSAGE-INTEGRITY is ignored`() throws {
        let message = try Messages.built([], protectedBy: .sha1(Messages.key))
        let bytes = Messages.extended(message, by: [(AttributeType(rawValue: 0x3FFF), [])])
        let unknown = try STUNMessageView(bytes.span).unknownRequiredAttributes(known: .stun)
        #expect(unknown.isEmpty)
    }

    @Test func `turn 45: MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count after MESSAGE-INTEGRITY`() throws {
        let bytes = try Messages.built([.init(.username, [97])], protectedBy: .both(Messages.key), fingerprint: true)
        let view = try STUNMessageView(bytes.span)
        let checks = [
            view.checkMessageIntegrity(Messages.key), view.checkMessageIntegritySHA256(Messages.key),
            view.checkFingerprint(),
        ]
        #expect(checks == [.valid, .valid, .valid])
    }

    @Test func `turn 45: after MESSAGE-INTEGRITY-SHA256 only FINGERPRINT counts`() throws {
        let message = try Messages.built([], protectedBy: .sha256(Messages.key))
        let bytes = Messages.extended(
            message,
            by: [(.messageIntegrity, [UInt8](repeating: 0, count: 20)), (.priority, [0, 0, 0, 1])]
        )
        let view = try STUNMessageView(bytes.span)
        let (sha1, sha256) = (
            view.checkMessageIntegrity(Messages.key), view.checkMessageIntegritySHA256(Messages.key)
        )
        #expect(sha1 == .absent)
        #expect(sha256 == .valid)
        let priority = try view.priority()
        #expect(priority == nil)
    }

    @Test func `turn 45: between the two integrity attributes nothing counts`() throws {
        let message = try Messages.built([], protectedBy: .sha1(Messages.key))
        let bytes = Messages.extended(
            message,
            by: [(.priority, [0, 0, 0, 1]), (.messageIntegritySHA256, [UInt8](repeating: 0, count: 32))]
        )
        let view = try STUNMessageView(bytes.span)
        let (priority, sha256) = (try view.priority(), view.checkMessageIntegritySHA256(Messages.key))
        #expect(priority == nil)
        #expect(sha256 == .invalid)
    }

    @Test func `turn 38: a FINGERPRINT that is not last is invalid, and what follows it is ignored`() throws {
        let message = try Messages.built([.init(.username, [97])], fingerprint: true)
        let bytes = Messages.extended(message, by: [(.priority, [0, 0, 0, 1])])
        let view = try STUNMessageView(bytes.span)
        let (fingerprint, priority) = (view.checkFingerprint(), try view.priority())
        #expect(fingerprint == .invalid)
        #expect(priority == nil)
    }

    @Test func `turn 28: unknown required attributes are listed once each, optional ones not at all`() throws {
        let (first, second) = (AttributeType(rawValue: 0x0011), AttributeType(rawValue: 0x7ABC))
        let bytes = Messages.raw([
            (first, []), (.username, [97]), (second, [1, 2, 3]), (first, [4]), (AttributeType(rawValue: 0xC001), []),
            (.lifetime, [0, 0, 0, 1]),
        ])
        let view = try STUNMessageView(bytes.span)
        let unknown = view.unknownRequiredAttributes(known: .turn)
        #expect((0..<unknown.count).map { unknown[$0] } == [first, second])
        let unknownToSTUN = view.unknownRequiredAttributes(known: .stun)
        #expect(unknownToSTUN.count == 3)
    }

    @Test func `turn 28, 101: a known attribute can be taken out of the set`() throws {
        var known = AttributeSet.turn
        known.remove(.dontFragment)
        let message = Messages.raw([(.dontFragment, [])])
        let unknown = try STUNMessageView(message.span).unknownRequiredAttributes(known: known)
        #expect(unknown.count == 1)
        #expect(unknown.contains(.dontFragment))
    }

    @Test func `an answer stays short however many unknown attributes there are`() throws {
        let bytes = Messages.raw((0..<400).map { (AttributeType(rawValue: 0x1000 + $0), []) })
        let unknown = try STUNMessageView(bytes.span).unknownRequiredAttributes(known: .turn)
        #expect(unknown.count == AttributeTypeList.maximumCount)
    }

    @Test func `a look-up is not misled by a type with the same remainder`() throws {
        let twin = AttributeType(rawValue: AttributeType.priority.rawValue + 64)
        let message = Messages.raw([(twin, [0, 0, 0, 9])])
        let view = try STUNMessageView(message.span)
        let (priority, hasTwin) = (try view.priority(), view.contains(twin))
        #expect(priority == nil)
        #expect(hasTwin)
    }
}
