import Bytes
import NetTypes
import STUN
import TestSupport
import Testing

@Suite struct BuilderTests {
    @Test func `a message that does not fit leaves the output as it was`() {
        let address = SocketAddress(.loopback(.ipv6), port: 1)
        for capacity in 3..<150 {
            let bytes = buildBytes(capacity: capacity) { output in
                for byte in UInt8(1)...3 { output.append(byte) }
                var builder = STUNMessageBuilder(.binding, .success, Messages.id, into: &output)
                builder.append(.xorMappedAddress, xored: address, into: &output)
                builder.append(.software, "test", into: &output)
                do throws(STUNError) {
                    let count = try builder.finish(protectedBy: .both(Messages.key), fingerprint: true, into: &output)
                    #expect(count == 120 && capacity >= 123)
                } catch {
                    #expect(error == .messageFull(freeCapacity: capacity - 3))
                    #expect(capacity < 123)
                }
            }
            #expect(bytes.count == (capacity < 123 ? 3 : 123))
            #expect(Array(bytes[..<3]) == [1, 2, 3])
        }
    }

    @Test func `turn 6: padding is zero`() throws {
        for count in 0..<9 {
            let bytes = try buildBytes(capacity: 100) { output throws(STUNError) in
                var builder = STUNMessageBuilder(.send, .indication, Messages.id, into: &output)
                builder.append(.data, [UInt8](repeating: 0xFF, count: count).span, into: &output)
                builder.append(.software, String(repeating: "\u{7F}", count: count), into: &output)
                _ = try builder.finish(into: &output)
            }
            #expect(bytes.count == 20 + 2 * (4 + STUNFormat.padded(count)))
            #expect(bytes[22...].reduce(0) { $0 + ($1 == 0xFF ? 1 : 0) } == count)
            let view = try STUNMessageView(bytes.span)
            let dataCount = view.value(.data)?.count
            #expect(dataCount == count)
            for index in 24 + count..<24 + STUNFormat.padded(count) { #expect(bytes[index] == 0) }
        }
    }

    @Test func `a message ends at the 16 bits of its length`() throws {
        let value = [UInt8](repeating: 1, count: 0xFFF8)
        let longest = try STUNMessage(
            STUNMessageType(.send, .indication),
            Messages.id,
            attributes: [.init(.data, value)]
        )
        .encoded()
        #expect(longest.count == 20 + 0xFFFC)
        #expect(try STUNMessage(decoding: longest.span).attributes.first?.value.count == 0xFFF8)
        for extra in [1, 4, 8, 100_000] {
            let data = [UInt8](repeating: 1, count: 0xFFF8 + extra)
            let message = STUNMessage(
                STUNMessageType(.send, .indication),
                Messages.id,
                attributes: [.init(.data, data)]
            )
            #expect(throws: STUNError.self) { _ = try message.encoded() }
        }
    }

    @Test func `the room that is told is the room that there is`() throws {
        for capacity in 20..<140 {
            for (protection, fingerprint) in [
                (MessageProtection.none, false), (.sha1(Messages.key), true), (.both(Messages.key), false),
            ] {
                try buildAndFill(capacity, protection, fingerprint)
            }
        }
    }

    private func buildAndFill(_ capacity: Int, _ protection: MessageProtection, _ fingerprint: Bool) throws {
        _ = buildBytes(capacity: capacity) { output in
            var builder = STUNMessageBuilder(.send, .indication, Messages.id, into: &output)
            let room = builder.room(before: protection, fingerprint: fingerprint, in: output)
            guard room > 0 else { return }
            builder.append(.data, [UInt8](repeating: 7, count: room).span, into: &output)
            let count = try? builder.finish(protectedBy: protection, fingerprint: fingerprint, into: &output)
            #expect(count != nil)
            #expect(output.freeCapacity < 4)
        }
    }

    @Test(arguments: seeds(200))
    func `what is written is read again`(_ seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        for _ in 0..<5 {
            let message = RandomMessages.message(using: &entropy)
            let protection: MessageProtection =
                switch entropy.next() % 4 {
                case 0: .none
                case 1: .sha1(Messages.key)
                case 2: .sha256(Messages.key)
                default: .both(Messages.key)
                }
            let fingerprint = entropy.next() % 2 == 0
            let bytes = try message.encoded(protectedBy: protection, fingerprint: fingerprint)
            let view = try STUNMessageView(bytes.span)
            #expect(STUNMessage(view) == message)
            let checks = [view.checkPreferredIntegrity(Messages.key), view.checkFingerprint()]
            #expect(checks.allSatisfy { $0 != .invalid })
            #expect(checks[1] == (fingerprint ? .valid : .absent))
        }
    }
}

/// Messages with random attributes.
enum RandomMessages {
    static let types: [AttributeType] = [
        .mappedAddress, .username, .errorCode, .unknownAttributes, .realm, .nonce, .passwordAlgorithm, .userhash,
        .xorMappedAddress, .passwordAlgorithms, .software, .alternateServer, .channelNumber, .lifetime, .xorPeerAddress,
        .data, .xorRelayedAddress, .requestedAddressFamily, .evenPort, .requestedTransport, .dontFragment,
        .reservationToken, .additionalAddressFamily, .addressErrorCode, .icmp, .priority, .changeRequest, .responsePort,
        AttributeType(rawValue: 0x7FFF), AttributeType(rawValue: 0xFFFF),
    ]
    private static let byteCounts = [0, 1, 2, 3, 4, 4, 5, 8, 8, 16, 20, 20, 32, 33, 64]

    static func message(using entropy: inout Entropy) -> STUNMessage {
        let type = STUNMessageType(
            STUNMethod(rawValue: UInt16(truncatingIfNeeded: entropy.next())),
            STUNClass.allCases[Int(entropy.next() % 4)]
        )
        var message = STUNMessage(type, .random(using: &entropy))
        for _ in 0..<entropy.next() % 8 {
            let type = types[Int(entropy.next() % UInt64(types.count))]
            let value = entropy.bytes(byteCounts[Int(entropy.next() % UInt64(byteCounts.count))])
            message.attributes.append(.init(type, value))
        }
        return message
    }
}
