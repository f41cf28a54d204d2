import Bytes
import NetTypes
import STUN
import TURN
import Testing

@Suite struct AttributeTests {
    private static let id = TransactionID(high: 1, low: 2)

    private func message(
        _ body: (inout STUNMessageBuilder, inout OutputSpan<UInt8>) -> Void
    ) throws -> [UInt8] {
        try buildBytes(capacity: 400) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.allocate, .request, Self.id, into: &output)
            body(&builder, &output)
            _ = try builder.finish(into: &output)
        }
    }

    private func message(_ type: AttributeType, _ value: [UInt8]) throws -> [UInt8] {
        try message { $0.append(type, value.span, into: &$1) }
    }

    @Test func `the attributes of an Allocate come back`() throws {
        let bytes = try message { builder, output in
            builder.append(RelayedTransport.udp, into: &output)
            builder.append(.lifetime, 777 as UInt32, into: &output)
            builder.append(requested: .ipv6, into: &output)
            builder.append(additional: .ipv6, into: &output)
            builder.append(evenPortReservingNext: true, into: &output)
            builder.append(ReservationToken(rawValue: 0x0102_0304_0506_0708), into: &output)
            builder.append(.dontFragment, into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        let (transport, lifetime) = (try view.requestedTransport(), try view.lifetimeSeconds())
        #expect(transport == .udp && lifetime == 777)
        let families = [try view.requestedAddressFamily(), try view.additionalAddressFamily()]
        #expect(families == [.ipv6, .ipv6])
        let (reserves, token, dontFragment) = (
            try view.evenPortReservesNext(), try view.reservationToken(), view.dontFragment
        )
        #expect(reserves == true && dontFragment)
        #expect(token?.rawValue == 0x0102_0304_0506_0708)
        let unknown = view.unknownRequiredAttributes(known: .turn)
        #expect(unknown.isEmpty)
    }

    @Test func `the attributes of answers and channels come back`() throws {
        let channel = try #require(ChannelNumber(rawValue: 0x4ABC))
        let bytes = try message { builder, output in
            builder.append(channel, into: &output)
            builder.append(.addressFamilyNotSupported, for: .ipv6, into: &output)
            builder.append(ICMPReport(type: 3, code: 4, errorData: 1280), into: &output)
            builder.append(.connectionID, 99 as UInt32, into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        let (number, refusal) = (try view.channelNumber(), try view.addressErrorCode())
        #expect(number == 0x4ABC)
        #expect(refusal?.family == .ipv6 && refusal?.code == .addressFamilyNotSupported)
        let (report, connection) = (try view.icmp(), try view.connectionID())
        #expect(report == ICMPReport(type: 3, code: 4, errorData: 1280))
        #expect(connection == 99)
    }

    @Test func `turn 151: reserved bits that are set change nothing`() throws {
        let transport = try message(.requestedTransport, [17, 1, 2, 3])
        #expect(try read(transport) { try $0.requestedTransport() } == .udp)
        let channel = try message(.channelNumber, [0x40, 0, 0xFF, 0xFF])
        #expect(try read(channel) { try $0.channelNumber() } == 0x4000)
        let even = try message(.evenPort, [0x7F])
        #expect(try read(even) { try $0.evenPortReservesNext() } == false)
        let family = try message(.requestedAddressFamily, [1, 9, 9, 9])
        #expect(try read(family) { try $0.requestedAddressFamily() } == .ipv4)
        let report = try message(.icmp, [9, 9, 11, 1, 0, 0, 0, 0])
        #expect(try read(report) { try $0.icmp() } == ICMPReport(type: 11, code: 1))
    }

    private func read<Value>(_ bytes: [UInt8], _ body: (borrowing STUNMessageView) throws -> Value) throws -> Value {
        let view = try STUNMessageView(bytes.span)
        return try body(view)
    }

    @Test func `turn 151: reserved bits are sent as zero`() throws {
        let bytes = try message { $0.append(RelayedTransport.tcp, into: &$1) }
        #expect(Array(bytes[20...]) == [0, 0x19, 0, 4, 6, 0, 0, 0])
        let even = try message { $0.append(evenPortReservingNext: false, into: &$1) }
        #expect(Array(even[20...]) == [0, 0x18, 0, 1, 0, 0, 0, 0])
    }

    @Test(arguments: [
        AttributeType.lifetime, .channelNumber, .requestedTransport, .requestedAddressFamily, .additionalAddressFamily,
        .evenPort, .reservationToken, .icmp, .connectionID, .addressErrorCode,
    ])
    func `turn 100, 121: a value of a wrong length is malformed`(_ type: AttributeType) throws {
        for count in [0, 2, 3, 5, 9] where type != .addressErrorCode || count < 4 {
            let bytes = try message(type, [UInt8](repeating: 1, count: count))
            #expect(throws: STUNError.malformedAttribute(type)) { try Self.read(type, bytes) }
        }
    }

    private static func read(_ type: AttributeType, _ bytes: [UInt8]) throws {
        let view = try STUNMessageView(bytes.span)
        switch type {
        case .lifetime: _ = try view.lifetimeSeconds()
        case .channelNumber: _ = try view.channelNumber()
        case .requestedTransport: _ = try view.requestedTransport()
        case .requestedAddressFamily: _ = try view.requestedAddressFamily()
        case .additionalAddressFamily: _ = try view.additionalAddressFamily()
        case .evenPort: _ = try view.evenPortReservesNext()
        case .reservationToken: _ = try view.reservationToken()
        case .icmp: _ = try view.icmp()
        case .connectionID: _ = try view.connectionID()
        default: _ = try view.addressErrorCode()
        }
    }

    @Test func `turn 160: an unknown family in REQUESTED-ADDRESS-FAMILY is told apart`() throws {
        let bytes = try message(.requestedAddressFamily, [3, 0, 0, 0])
        #expect(throws: STUNError.unknownAddressFamily(.requestedAddressFamily, 3)) {
            try Self.read(.requestedAddressFamily, bytes)
        }
    }

    @Test func `turn 121: all peers of a CreatePermission are seen, and a malformed one among them`() throws {
        let peers = [try #require(SocketAddress("192.0.2.1:1")), try #require(SocketAddress("[2001:db8::1]:2"))]
        let good = try message { builder, output in
            for peer in peers { builder.append(.xorPeerAddress, xored: peer, into: &output) }
        }
        var seen: [SocketAddress] = []
        let count = try STUNMessageView(good.span).forEachPeerAddress { seen.append($0) }
        #expect(seen == peers)
        #expect(count == 2)
        let bad = try message { builder, output in
            builder.append(.xorPeerAddress, xored: peers[0], into: &output)
            builder.append(.xorPeerAddress, ([1, 2, 3] as [UInt8]).span, into: &output)
        }
        #expect(throws: STUNError.malformedAttribute(.xorPeerAddress)) {
            _ = try STUNMessageView(bad.span).forEachPeerAddress { _ in }
        }
    }

    @Test func `turn 106: both relayed addresses of a dual allocation are found`() throws {
        let addresses = [try #require(SocketAddress("192.0.2.1:1")), try #require(SocketAddress("[2001:db8::1]:2"))]
        let bytes = try message { builder, output in
            for address in addresses { builder.append(.xorRelayedAddress, xored: address, into: &output) }
        }
        let view = try STUNMessageView(bytes.span)
        let found = [try view.xorRelayedAddress(.ipv4), try view.xorRelayedAddress(.ipv6)]
        #expect(found == addresses)
        let first = try view.xorRelayedAddress()
        #expect(first == addresses[0])
    }

    @Test(arguments: [0, 1, 3, 4, 1200])
    func `turn 129: DATA is where it is said to be, without padding`(_ count: Int) throws {
        let data = (0..<count).map { UInt8($0 & 0xFF) }
        let bytes = try buildBytes(capacity: 1400) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.send, .indication, Self.id, into: &output)
            builder.append(.xorPeerAddress, xored: SocketAddress(.loopback(.ipv4), port: 9), into: &output)
            builder.append(.data, data.span, into: &output)
            _ = try builder.finish(into: &output)
        }
        let view = try STUNMessageView(bytes.span)
        let found = view.dataRange()
        let range = try #require(found)
        #expect(range == 36..<36 + count)
        #expect(Array(bytes[range]) == data)
    }

    @Test(arguments: ["192.0.2.1:4242", "[2001:db8::7]:4242"], [0, 1, 2, 3, 4, 1200])
    func `turn 130: a Data indication is put around data where it stands`(_ text: String, _ count: Int) throws {
        let peer = try #require(SocketAddress(text))
        let needed = DataIndication.headerByteCount(peer: peer.family)
        for (headroom, tailroom) in [(64, 4), (needed, 3), (needed - 1, 4), (64, 0)] {
            let payload = headroom..<headroom + count
            var packet = [UInt8](repeating: 0xEE, count: headroom + count + tailroom)
            let before = packet
            var span = packet.mutableSpan
            let range = DataIndication.frame(payload, from: peer, Self.id, in: &span)
            guard headroom >= needed, tailroom >= (4 - count % 4) % 4 else {
                #expect(range == nil)
                #expect(packet == before)
                continue
            }
            let framed = try #require(range)
            let message = Array(packet[framed])
            let view = try STUNMessageView(message.span)
            let (type, id, address) = (view.type, view.transactionID, try view.xorPeerAddress())
            #expect(type == STUNMessageType(.data, .indication) && id == Self.id && address == peer)
            let data = view.data()?.toArray()
            #expect(data == [UInt8](repeating: 0xEE, count: count))
            #expect(packet[framed.upperBound...].allSatisfy { $0 == 0xEE })
        }
    }

    @Test func `data that is too long for one message gets no header`() {
        var packet = [UInt8](repeating: 0, count: 0x1_0100)
        var span = packet.mutableSpan
        let peer = SocketAddress(.loopback(.ipv6), port: 9)
        #expect(DataIndication.frame(64..<64 + 0xFFE0, from: peer, Self.id, in: &span) != nil)
        #expect(DataIndication.frame(64..<64 + 0xFFE1, from: peer, Self.id, in: &span) == nil)
    }
}
