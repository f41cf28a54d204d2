import TURN
import Testing

@Suite struct PacketKindTests {
    @Test func `turn 144: each first byte belongs to the protocol of RFC 7983`() {
        var expected = [PacketKind](repeating: .unknown, count: 256)
        for (range, kind) in [
            (0...3, PacketKind.stun), (16...19, .zrtp), (20...63, .dtls), (64...79, .turnChannel), (128...191, .rtp),
        ] {
            for byte in range { expected[byte] = kind }
        }
        for byte in 0...UInt8.max { #expect(PacketKind(firstByte: byte) == expected[Int(byte)]) }
    }
}
