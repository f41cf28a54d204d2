import Bytes
import NetTypes
import STUN
import TURN
import TestSupport
import Testing

@Suite struct StreamFramingTests {
    private static let binding: [UInt8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42] + Array(1...12)

    @Test func `nothing and parts of headers need more`() {
        let framing = StreamFraming()
        let empty: [UInt8] = []
        #expect(framing.frame(at: empty.span) == .needMore(byteCount: 4))
        for count in 1..<20 {
            #expect(framing.frame(at: Array(Self.binding[..<count]).span) == .needMore(byteCount: 20))
        }
        for count in 1..<4 {
            #expect(framing.frame(at: Array(([0x40, 0, 0, 0] as [UInt8])[..<count]).span) == .needMore(byteCount: 4))
        }
    }

    @Test(arguments: 0..<9)
    func `turn 140: ChannelData in a stream is padded`(_ length: Int) {
        let padded = 4 + (length + 3) / 4 * 4
        var bytes: [UInt8] = [0x40, 0, 0, UInt8(length)]
        while bytes.count < padded {
            #expect(StreamFraming().frame(at: bytes.span) == .needMore(byteCount: padded))
            bytes.append(0)
        }
        #expect(StreamFraming().frame(at: bytes.span) == .channelData(byteCount: padded))
        #expect(StreamFraming().frame(at: (bytes + [0xFF]).span) == .channelData(byteCount: padded))
    }

    @Test func `turn 146: what cannot be followed breaks the stream`() {
        let framing = StreamFraming()
        for first in UInt8(0x80)...0xFF {
            #expect(framing.frame(at: [first].span) == .broken(.unknownFirstByte(first)))
        }
        var noCookie = Self.binding
        noCookie[4] = 0
        #expect(framing.frame(at: Array(noCookie[..<8]).span) == .broken(.stun(.badMagicCookie(0x0012_A442))))
        var unaligned = Self.binding
        unaligned[3] = 3
        #expect(framing.frame(at: unaligned.span) == .broken(.stun(.unalignedLength(3))))
    }

    @Test func `turn 141: a reserved channel number does not break the stream`() {
        let bytes: [UInt8] = [0x50, 0, 0, 4, 1, 2, 3, 4]
        #expect(StreamFraming().frame(at: bytes.span) == .channelData(byteCount: 8))
    }

    @Test func `frames over the limit break the stream before they are there`() {
        let framing = StreamFraming(limit: 100)
        let stun: [UInt8] = [0, 1, 0, 84, 0x21, 0x12, 0xA4, 0x42]
        #expect(framing.frame(at: stun.span) == .broken(.tooLong(byteCount: 104, limit: 100)))
        let channelData: [UInt8] = [0x40, 0, 0, 97]
        #expect(framing.frame(at: channelData.span) == .broken(.tooLong(byteCount: 104, limit: 100)))
        let fitting: [UInt8] = [0x40, 0, 0, 96]
        #expect(framing.frame(at: fitting.span) == .needMore(byteCount: 100))
    }

    @Test func `the longest frames of both kinds are not too long`() {
        let stun: [UInt8] = [0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42]
        #expect(StreamFraming().frame(at: stun.span) == .needMore(byteCount: 20 + 0xFFFC))
        let channelData: [UInt8] = [0x40, 0, 0xFF, 0xFF]
        #expect(StreamFraming().frame(at: channelData.span) == .needMore(byteCount: 4 + 0x10000))
    }

    @Test(arguments: seeds(100))
    func `turn 19: frames come out of a stream whole, however it was cut`(_ seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        var sent: [[UInt8]] = []
        for _ in 0..<20 {
            let size = Int(entropy.next() % 50)
            if entropy.next() % 2 == 0 {
                let message = STUNMessage(
                    STUNMessageType(.send, .indication),
                    .random(using: &entropy),
                    attributes: [.init(.data, entropy.bytes(size))]
                )
                sent.append(try message.encoded())
            } else {
                let channel = try #require(ChannelNumber(rawValue: 0x4000 + UInt16(entropy.next() % 0x1000)))
                let data = entropy.bytes(size)
                sent.append(
                    buildBytes(capacity: 100) { output in
                        _ = ChannelData.write(data.span, on: channel, isPadded: true, into: &output)
                    }
                )
            }
        }
        var stream = sent.flatMap { $0 }
        var (buffer, received): ([UInt8], [[UInt8]]) = ([], [])
        while !stream.isEmpty {
            let count = min(stream.count, 1 + Int(entropy.next() % 30))
            buffer += stream[..<count]
            stream.removeFirst(count)
            received += try frames(in: &buffer)
        }
        #expect(received == sent)
        #expect(buffer.isEmpty)
    }

    private func frames(in buffer: inout [UInt8]) throws -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while true {
            switch StreamFraming().frame(at: buffer.span) {
            case .needMore(let count):
                #expect(count > buffer.count)
                return frames
            case .stun(let count), .channelData(let count):
                frames.append(Array(buffer[..<count]))
                buffer.removeFirst(count)
            case .broken(let error): throw error
            }
        }
    }
}
