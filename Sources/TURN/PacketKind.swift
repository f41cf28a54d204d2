/// What a datagram is by its first byte, where several protocols share a port (RFC 7983 §7).
public enum PacketKind: Hashable, Sendable, CaseIterable {
    /// 0 to 3.
    case stun
    /// 16 to 19.
    case zrtp
    /// 20 to 63.
    case dtls
    /// 64 to 79.
    case turnChannel
    /// 128 to 191: RTP and RTCP.
    case rtp
    /// All others, to be dropped.
    case unknown

    /// Tells the protocols apart.
    @inlinable
    public init(firstByte: UInt8) {
        switch firstByte {
        case 0...3: self = .stun
        case 16...19: self = .zrtp
        case 20...63: self = .dtls
        case 64...79: self = .turnChannel
        case 128...191: self = .rtp
        default: self = .unknown
        }
    }
}
