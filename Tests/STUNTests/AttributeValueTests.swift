import Bytes
import NetTypes
import STUN
import Testing

@Suite struct AttributeValueTests {
    @Test(arguments: [
        ("192.0.2.1:32853"), ("0.0.0.0:0"), ("255.255.255.255:65535"), ("[2001:db8::1]:443"), ("[::ffff:1.2.3.4]:1"),
    ])
    func `turn 40: addresses come back, XORed and plain`(_ text: String) throws {
        let address = try #require(SocketAddress(text))
        let bytes = try buildBytes(capacity: 200) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.binding, .success, Messages.id, into: &output)
            builder.append(.xorMappedAddress, xored: address, into: &output)
            builder.append(.mappedAddress, address, into: &output)
            builder.append(.otherAddress, address, into: &output)
            _ = try builder.finish(into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        let read = [try view.xorMappedAddress(), try view.mappedAddress(), try view.otherAddress()]
        #expect(read == [address, address, address])
    }

    @Test(arguments: [0, 3, 4, 255] as [UInt8])
    func `turn 34, 160: an unknown family is told from a malformed address`(_ family: UInt8) throws {
        let bytes = Messages.raw([(.xorMappedAddress, [0, family, 0, 1, 1, 2, 3, 4])])
        #expect(throws: STUNError.unknownAddressFamily(.xorMappedAddress, family)) {
            _ = try STUNMessageView(bytes.span).xorMappedAddress()
        }
    }

    @Test(
        arguments: [[], [0], [0, 1, 2], [0, 1, 0, 1], [0, 1, 0, 1, 1, 2, 3], [0, 2, 0, 1, 1, 2, 3, 4]] as [[UInt8]]
    )
    func `an address of a wrong length is malformed`(_ value: [UInt8]) {
        let bytes = Messages.raw([(.mappedAddress, value)])
        #expect(throws: STUNError.malformedAttribute(.mappedAddress)) {
            _ = try STUNMessageView(bytes.span).mappedAddress()
        }
    }

    @Test func `turn 40: the first byte of an address is ignored`() throws {
        let bytes = Messages.raw([(.mappedAddress, [0xFF, 1, 0, 80, 1, 2, 3, 4])])
        let address = try STUNMessageView(bytes.span).mappedAddress()
        #expect(address == SocketAddress("1.2.3.4:80"))
    }

    @Test func `turn 46: every code comes back, whatever the reserved bits`() throws {
        for code in UInt16(300)...699 {
            let bytes = try buildBytes(capacity: 100) { output throws(STUNError) in
                var builder = STUNMessageBuilder(.allocate, .error, Messages.id, into: &output)
                builder.append(ErrorCode(rawValue: code), reason: "why", into: &output)
                _ = try builder.finish(into: &output)
            }
            var noisy = bytes
            noisy[24] = 0xFF
            noisy[25] = 0xFF
            noisy[26] |= 0xF8
            for message in [bytes, noisy] {
                let view = try STUNMessageView(message.span)
                let (read, reason) = (try view.errorCode(), view.errorReason())
                #expect(read?.rawValue == code)
                #expect(reason == "why")
            }
        }
    }

    @Test(arguments: [[], [0, 0, 4], [0, 0, 2, 0], [0, 0, 7, 0], [0, 0, 4, 100]] as [[UInt8]])
    func `turn 46: other classes and numbers are malformed`(_ value: [UInt8]) {
        #expect(throws: STUNError.malformedAttribute(.errorCode)) {
            let bytes = Messages.raw([(.errorCode, value)])
            _ = try STUNMessageView(bytes.span).errorCode()
        }
    }

    @Test func `turn 46: a reason is cut at 127 characters and left out beyond 509 bytes`() throws {
        for (reason, expected) in [
            (String(repeating: "x", count: 200), 127), (String(repeating: "\u{1F600}", count: 127), 127),
            (String(repeating: "e\u{301}\u{302}\u{303}", count: 127), 0), ("", 0),
        ] {
            let bytes = try buildBytes(capacity: 1000) { output throws(STUNError) in
                var builder = STUNMessageBuilder(.allocate, .error, Messages.id, into: &output)
                builder.append(.badRequest, reason: reason, into: &output)
                _ = try builder.finish(into: &output)
            }
            let read = try STUNMessageView(bytes.span).errorReason()
            #expect(read?.count == expected)
        }
    }

    @Test func `turn 41, 47: text is accepted up to 763 bytes`() throws {
        for type in [AttributeType.username, .realm, .nonce] {
            for (count, isAccepted) in [(0, true), (763, true), (764, false)] {
                let bytes = Messages.raw([(type, [UInt8](repeating: 97, count: count))])
                let view = try STUNMessageView(bytes.span)
                let read =
                    switch type {
                    case .username: (try? view.username())?.count
                    case .realm: (try? view.realm())?.count
                    default: (try? view.nonce())?.count
                    }
                #expect(read == (isAccepted ? count : nil))
                let text = view.string(type)
                #expect(text?.count == (isAccepted ? count : nil))
            }
        }
    }

    @Test func `text that is not UTF-8 is no string`() throws {
        let bytes = Messages.raw([(.software, [0x61, 0xFF])])
        let software = try STUNMessageView(bytes.span).string(.software)
        #expect(software == nil)
    }

    @Test(arguments: [0, 16, 31, 33])
    func `turn 42: a USERHASH has 32 bytes`(_ count: Int) {
        #expect(throws: STUNError.malformedAttribute(.userhash)) {
            let bytes = Messages.raw([(.userhash, [UInt8](repeating: 1, count: count))])
            _ = try STUNMessageView(bytes.span).userhash()
        }
    }

    @Test func `turn 49: UNKNOWN-ATTRIBUTES has ordinary padding`() throws {
        let list = AttributeTypeList([.dontFragment, .evenPort, .dontFragment, .data])
        let bytes = try buildBytes(capacity: 100) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.allocate, .error, Messages.id, into: &output)
            builder.append(unknownAttributes: list, into: &output)
            _ = try builder.finish(into: &output)
        }
        #expect(Array(bytes[20...]) == [0, 0x0A, 0, 6, 0, 0x1A, 0, 0x18, 0, 0x13, 0, 0])
        let read = try STUNMessageView(bytes.span).unknownAttributes()
        #expect(read?.count == 3)
        #expect(throws: STUNError.malformedAttribute(.unknownAttributes)) {
            let bytes = Messages.raw([(.unknownAttributes, [0])])
            _ = try STUNMessageView(bytes.span).unknownAttributes()
        }
    }

    @Test func `turn 48: PASSWORD-ALGORITHMS comes back in order`() throws {
        let bytes = try buildBytes(capacity: 100) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.allocate, .request, Messages.id, into: &output)
            builder.append(passwordAlgorithms: [.sha256, .md5], into: &output)
            builder.append(passwordAlgorithm: .sha256, into: &output)
            _ = try builder.finish(into: &output)
        }
        #expect(Array(bytes[20...]) == [0x80, 2, 0, 8, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0x1D, 0, 4, 0, 2, 0, 0])
        let view = try STUNMessageView(bytes.span)
        let (list, chosen) = (try view.passwordAlgorithms(), try view.passwordAlgorithm())
        #expect(list == [.sha256, .md5])
        #expect(chosen == .sha256)
    }

    @Test(
        arguments: [
            [], [0], [0, 2, 0], [0, 2, 0, 4], [0, 2, 0, 4, 1, 2, 3, 4], [0, 1, 0, 1, 9, 0, 0, 0], [0, 9, 0, 0, 0, 1],
        ] as [[UInt8]]
    )
    func `turn 48: a list that is cut off, and MD5 or SHA-256 with parameters, are malformed`(_ value: [UInt8]) {
        #expect(throws: STUNError.malformedAttribute(.passwordAlgorithms)) {
            let bytes = Messages.raw([(.passwordAlgorithms, value)])
            _ = try STUNMessageView(bytes.span).passwordAlgorithms()
        }
    }

    @Test func `turn 63: a list that is trimmed, reordered or longer than ours is not ours`() throws {
        let ours: PasswordAlgorithmList = [.sha256, .md5]
        for value: [UInt8] in [
            [0, 2, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0, 0, 2, 0, 0], [0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0],
            [0, 2, 0, 0, 0, 7, 0, 1, 5, 0, 0, 0],
        ] {
            let message = Messages.raw([(.passwordAlgorithms, value)])
            let list = try STUNMessageView(message.span).passwordAlgorithms()
            #expect(list != nil)
            #expect(list != ours)
        }
        #expect(!ours.contains(PasswordAlgorithm(rawValue: 3)))
    }

    @Test func `a list with parameters or of more than eight is equal to none`() throws {
        let long = [UInt8](repeating: 0, count: 0) + (3...12).flatMap { [0, UInt8($0), 0, 0] }
        let bytes = Messages.raw([(.passwordAlgorithms, long)])
        let list = try STUNMessageView(bytes.span).passwordAlgorithms()
        let read = try #require(list)
        #expect(read.count == PasswordAlgorithmList.maximumCount)
        #expect(read != read)
    }

    @Test func `the attributes of ICE and of NAT discovery come back`() throws {
        let bytes = try buildBytes(capacity: 200) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.binding, .request, Messages.id, into: &output)
            builder.append(.priority, 7 as UInt32, into: &output)
            builder.append(.useCandidate, into: &output)
            builder.append(.iceControlling, 0x0102_0304_0506_0708 as UInt64, into: &output)
            builder.append(.iceControlled, UInt64.max, into: &output)
            builder.append(ChangeRequest(ip: true, port: false), into: &output)
            builder.append(.responsePort, 0x1F90_0000 as UInt32, into: &output)
            _ = try builder.finish(into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        let (priority, isNominated) = (try view.priority(), view.useCandidate)
        let (controlling, controlled) = (try view.iceControlling(), try view.iceControlled())
        let (change, port) = (try view.changeRequest(), try view.responsePort())
        #expect(priority == 7 && isNominated)
        #expect(controlling == 0x0102_0304_0506_0708 && controlled == .max)
        #expect(change == ChangeRequest(ip: true, port: false))
        #expect(port == 8080)
    }

    @Test(arguments: [AttributeType.priority, .iceControlled, .iceControlling, .changeRequest, .responsePort])
    func `a number of a wrong length is malformed`(_ type: AttributeType) throws {
        for count in [0, 1, 3, 5, 7, 9] {
            let bytes = Messages.raw([(type, [UInt8](repeating: 0, count: count))])
            let view = try STUNMessageView(bytes.span)
            var error: STUNError?
            do {
                switch type {
                case .priority: _ = try view.priority()
                case .iceControlled: _ = try view.iceControlled()
                case .iceControlling: _ = try view.iceControlling()
                case .changeRequest: _ = try view.changeRequest()
                default: _ = try view.responsePort()
                }
            } catch let thrown { error = thrown }
            #expect(error == .malformedAttribute(type))
        }
    }
}
