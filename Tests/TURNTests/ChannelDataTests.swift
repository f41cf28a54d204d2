import Bytes
import TURN
import Testing

@Suite struct ChannelDataTests {
    @Test func `turn 135, 141: channel numbers are 0x4000 to 0x4FFF`() {
        for number in 0...UInt16.max {
            #expect(ChannelNumber(rawValue: number)?.rawValue == (0x4000...0x4FFF ~= number ? number : nil))
        }
        #expect(ChannelNumber.range == 0x4000...0x4FFF)
    }

    @Test(arguments: [0, 0x3FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF] as [UInt16])
    func `turn 141: other numbers are no ChannelData`(_ number: UInt16) {
        let bytes = [UInt8(number >> 8), UInt8(number & 0xFF), 0, 0]
        #expect(throws: ChannelDataError.reservedChannelNumber(number)) { _ = try ChannelData(bytes.span) }
    }

    @Test(arguments: [(0, 0), (1, 1), (4, 4), (5, 8), (5, 20), (0, 3)])
    func `turn 140, 142: padding on UDP is accepted, and no data at all`(_ length: Int, _ available: Int) throws {
        let bytes = [0x40, 0x01, 0, UInt8(length)] + [UInt8](repeating: 9, count: available)
        let message = try ChannelData(bytes.span)
        #expect(message.channel.rawValue == 0x4001)
        #expect(message.payload == 4..<4 + length)
    }

    @Test func `turn 141: a datagram that is too short is discarded`() {
        for count in 0..<4 {
            #expect(throws: ChannelDataError.truncatedHeader(available: count)) {
                _ = try ChannelData([UInt8](repeating: 0x40, count: count).span)
            }
        }
        #expect(throws: ChannelDataError.truncated(declared: 5, available: 4)) {
            _ = try ChannelData(([0x40, 0, 0, 5, 1, 2, 3, 4] as [UInt8]).span)
        }
        #expect(throws: ChannelDataError.truncated(declared: 65535, available: 0)) {
            _ = try ChannelData(([0x40, 0, 0xFF, 0xFF] as [UInt8]).span)
        }
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 1200, 65535])
    func `what is written is read again, padded on streams only`(_ count: Int) throws {
        let channel = try #require(ChannelNumber(rawValue: 0x4FFF))
        let data = [UInt8](repeating: 0xAB, count: count)
        for isPadded in [false, true] {
            let total = 4 + (isPadded ? (count + 3) / 4 * 4 : count)
            let bytes = buildBytes(capacity: total) { output in
                let isWritten = ChannelData.write(data.span, on: channel, isPadded: isPadded, into: &output)
                #expect(isWritten)
            }
            #expect(bytes.count == total)
            let message = try ChannelData(bytes.span)
            #expect(message.channel == channel)
            #expect(Array(bytes[message.payload]) == data)
            #expect(bytes[message.payload.upperBound...].allSatisfy { $0 == 0 })
            let short = buildBytes(capacity: total - 1) { output in
                let isWritten = ChannelData.write(data.span, on: channel, isPadded: isPadded, into: &output)
                #expect(!isWritten)
            }
            #expect(short.isEmpty)
        }
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 64], [true, false])
    func `a header is put before data where it stands`(_ count: Int, _ isPadded: Bool) throws {
        let channel = try #require(ChannelNumber(rawValue: 0x4123))
        for (headroom, tailroom) in [(4, 4), (64, 4), (4, 0), (3, 4), (0, 4)] {
            let payload = headroom..<headroom + count
            var packet = [UInt8](repeating: 0xEE, count: headroom + count + tailroom)
            for index in payload { packet[index] = UInt8(index & 0x7F) }
            let before = packet
            var span = packet.mutableSpan
            let range = ChannelData.frame(payload, on: channel, isPadded: isPadded, in: &span)
            let padding = isPadded ? (4 - count % 4) % 4 : 0
            guard headroom >= 4, tailroom >= padding else {
                #expect(range == nil)
                #expect(packet == before)
                continue
            }
            let framed = try #require(range)
            #expect(framed == headroom - 4..<headroom + count + padding)
            let message = try ChannelData(Array(packet[framed]).span)
            #expect(message.channel == channel)
            #expect(Array(packet[framed][(framed.lowerBound + 4)...].prefix(count)) == Array(before[payload]))
            #expect(packet[(framed.upperBound)...].allSatisfy { $0 == 0xEE })
        }
    }
}
