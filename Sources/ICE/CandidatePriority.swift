import NetTypes

/// The formulas of RFC 8445 §5.1.2.1, §6.1.2.3 and RFC 6544 §4.2.
public enum CandidatePriority {
    /// 2^24 × type + 2^8 × local + (256 − component), never 0 (ice 18, 19).
    public static func candidate(typePreference: UInt8, localPreference: UInt16, component: UInt16) -> UInt32 {
        let value =
            UInt32(typePreference & 127) &<< 24 | UInt32(localPreference) &<< 8
            | UInt32(256 &- min(max(component, 1), 256))
        return max(1, min(value, 0x7FFF_FFFF))
    }

    /// 2^32 × min + 2 × max + (controlling > controlled), the same number on both sides (ice 31).
    public static func pair(controlling: UInt32, controlled: UInt32) -> UInt64 {
        UInt64(min(controlling, controlled)) &<< 32 &+ 2 &* UInt64(max(controlling, controlled))
            &+ (controlling > controlled ? 1 : 0)
    }

    /// How much a kind of candidate is preferred, 0 to 126 (ice 20, 22); TCP comes after UDP of its like (ice 120).
    public static func type(_ type: CandidateType, _ transport: CandidateTransport) -> UInt8 {
        switch (type, transport) {
        case (.host, .udp): 126
        case (.peerReflexive, .udp): 110
        case (.serverReflexive, .udp): 100
        case (.host, .tcp): 90
        case (.peerReflexive, .tcp): 85
        case (.serverReflexive, .tcp): 80
        case (.relayed, _): 0
        }
    }

    /// The precedence of an address by RFC 6724 §2.1, for lite agents (RFC 8445 §5.2; ice 24).
    static func precedence(of ip: IPAddress) -> UInt16 {
        if ip.family == .ipv4 { return 35 }
        switch ip.high {
        case let high where high &>> 48 == 0x2002: return 30
        case let high where high &>> 32 == 0x2001_0000: return 5
        case let high where high &>> 57 == 0x7E: return 3
        default: return 40
        }
    }

    /// How much a direction of TCP is preferred, 0 to 7 (RFC 6544 §4.2; ice 119).
    static func direction(_ tcpType: TCPCandidateType, _ type: CandidateType) -> UInt16 {
        switch (tcpType, type) {
        case (.active, .host): 6
        case (.passive, .host): 4
        case (.simultaneousOpen, .host): 2
        case (.simultaneousOpen, _): 6
        case (.active, _): 4
        case (.passive, _): 2
        }
    }

    /// The local preference of the `rank`th candidate of its family, type and component.
    ///
    /// IPv6 and IPv4 take turns, so that a broken family does not hold up the other (RFC 8421 §4; ice 140); costly
    /// networks and relays reached by streams come later, yet in the same row (ice 141).
    static func local(
        rank: Int,
        isIPv6: Bool,
        isDualStack: Bool,
        cost: UInt16,
        isVPN: Bool,
        relayStep: UInt16
    ) -> UInt16 {
        let turn = rank &* 2 &+ (isIPv6 || !isDualStack ? 0 : 1)
        let penalty = Int(min(cost, 999)) &* 16 &+ (isVPN ? 2048 : 0) &+ Int(relayStep) &* 8192
        return UInt16(max(0, 65_535 &- min(turn, 4095) &- penalty))
    }
}
