import Bytes
import Crypto
import NetTypes
import STUN
import Testing

@Suite struct VectorTests {
    @Test func `turn 51: the request of RFC 5769 is read and verified`() throws {
        let bytes = Vectors.request
        let view = try STUNMessageView(bytes.span)
        let type = view.type
        #expect(type == STUNMessageType(.binding, .request))
        let (software, priority, tieBreaker) = (view.string(.software), try view.priority(), try view.iceControlled())
        #expect(software == "STUN test client")
        #expect(priority == 0x6E00_01FF)
        #expect(tieBreaker == 0x932F_F9B1_5126_3B36)
        let username = view.string(.username)
        #expect(username == "evtj:h6vY")
        let key = try IntegrityKey(shortTermPassword: Vectors.shortTermPassword)
        let (integrity, fingerprint) = (view.checkMessageIntegrity(key), view.checkFingerprint())
        #expect(integrity == .valid)
        #expect(fingerprint == .valid)
    }

    @Test func `turn 51: the request of RFC 5769 is built alike but for its padding`() throws {
        let bytes = Vectors.request
        let view = try STUNMessageView(bytes.span)
        let key = try IntegrityKey(shortTermPassword: Vectors.shortTermPassword)
        let built = try STUNMessage(view).encoded(protectedBy: .sha1(key), fingerprint: true)
        // The vector pads USERNAME with spaces; zeros are the rule now, and integrity and checksum cover them.
        #expect(built[..<73] == Vectors.request[..<73])
        #expect(built[73..<76] == [0, 0, 0])
        let again = try STUNMessageView(built.span)
        let (integrity, fingerprint) = (again.checkMessageIntegrity(key), again.checkFingerprint())
        #expect(integrity == .valid)
        #expect(fingerprint == .valid)
    }

    @Test(arguments: [
        (Vectors.ipv4Response, "192.0.2.1:32853"),
        (Vectors.ipv6Response, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ])
    func `turn 51: the responses of RFC 5769 are read and verified`(_ bytes: [UInt8], _ address: String) throws {
        let view = try STUNMessageView(bytes.span)
        let (type, mapped, software) = (view.type, try view.xorMappedAddress(), view.string(.software))
        #expect(type == STUNMessageType(.binding, .success))
        #expect(mapped == SocketAddress(address))
        #expect(software == "test vector")
        let key = try IntegrityKey(shortTermPassword: Vectors.shortTermPassword)
        let (integrity, fingerprint) = (view.checkMessageIntegrity(key), view.checkFingerprint())
        #expect(integrity == .valid)
        #expect(fingerprint == .valid)
    }

    @Test(arguments: [
        (Vectors.ipv4Response, "192.0.2.1:32853"),
        (Vectors.ipv6Response, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ])
    func `turn 40, 51: an address is XORed as in the responses of RFC 5769`(_ bytes: [UInt8], _ text: String) throws {
        let address = try #require(SocketAddress(text))
        let id = TransactionID(high: 0xB7E7_A701_BC34_D686, low: 0xFA87_DFAE)
        let built = try buildBytes(capacity: 200) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.binding, .success, id, into: &output)
            builder.append(.software, "test vector", into: &output)
            builder.append(.xorMappedAddress, xored: address, into: &output)
            _ = try builder.finish(into: &output)
        }
        #expect(built[4..<35] == bytes[4..<35])
        #expect(built[36...] == bytes[36..<36 + (built.count - 36)])
    }

    @Test func `turn 51: the long-term request of RFC 5769 is verified and built byte by byte`() throws {
        let bytes = Vectors.longTermRequest
        let view = try STUNMessageView(bytes.span)
        let user = try LongTermCredentials(
            username: Vectors.longTermUsername,
            realm: Vectors.realm,
            password: Vectors.longTermPassword
        )
        let (integrity, realm, username) = (
            view.checkMessageIntegrity(user.md5Key), view.string(.realm), view.string(.username)
        )
        #expect(integrity == .valid)
        #expect(realm == "example.org")
        #expect(username == user.username)
        #expect(try STUNMessage(view).encoded(protectedBy: .sha1(user.md5Key)) == Vectors.longTermRequest)
    }

    @Test func `turn 42, 51: the request of RFC 8489 Appendix B is verified and built byte by byte`() throws {
        let user = try LongTermCredentials(
            username: Vectors.longTermUsername,
            realm: Vectors.realm,
            password: Vectors.longTermPassword
        )
        let key = try #require(user.sha256Key)
        let bytes = Vectors.userhashRequest
        let view = try STUNMessageView(bytes.span)
        let (integrity, userhash) = (view.checkMessageIntegritySHA256(key), try view.userhash())
        #expect(integrity == .valid)
        #expect(userhash == user.userhash)
        #expect(try STUNMessage(view).encoded(protectedBy: .sha256(key)) == Vectors.userhashRequest)
    }

    @Test func `turn 2, 51: Appendix B as printed announces 20 bytes too many and is discarded, its HMAC is ours`()
        throws
    {
        let printed = Vectors.userhashRequestAsPrinted
        #expect(throws: STUNError.lengthMismatch(declared: 156, available: 136)) {
            _ = try STUNMessageView(printed.span)
        }
        let keyBytes = try LongTermCredentials.keyBytes(
            .sha256,
            username: Vectors.longTermUsername,
            realm: Vectors.realm,
            password: Vectors.longTermPassword
        )
        let code = HMACKey(.sha256, key: keyBytes.span).authenticationCode(for: Array(printed[..<120]))
        #expect(code == Array(printed[124...]))
    }

    @Test func `turn 68: the long-term keys of user, realm and pass`() throws {
        let md5 = try LongTermCredentials.keyBytes(.md5, username: "user", realm: "realm", password: "pass")
        #expect(Hex.encode(md5) == "8493fbc53ba582fb4c044c456bdc40eb")
        let sha256 = try LongTermCredentials.keyBytes(.sha256, username: "user", realm: "realm", password: "pass")
        #expect(Hex.encode(sha256) == "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b")
    }
}
