public import NetTypes

/// Puts the addresses of one server into the order to try them (RFC 8305 §4, RFC 6724 §6).
public enum DestinationOrder {
    /// Sorts within each group, then lets families take turns; `source` tells from which of our addresses packets to
    /// a destination would leave, `nil` without a route.
    ///
    /// Addresses without a route come last, but stay: routes come and go.
    public static func sorted(
        _ candidates: [ServerCandidate],
        source: (IPAddress) -> IPAddress?
    ) -> [ServerCandidate] {
        var result: [ServerCandidate] = []
        for group in candidates.map(\.group).uniqued() {
            let members = candidates.filter { $0.group == group }
                .map { Destination($0, source: source($0.address.ip)) }
            let ordered = members.enumerated()
                .sorted { $0.element.key != $1.element.key ? $0.element.key < $1.element.key : $0.offset < $1.offset }
                .map(\.element)
            result += interleaved(ordered.filter(\.isRouted)) + interleaved(ordered.filter { !$0.isRouted })
        }
        return result
    }

    /// The first family first, then one of each in turn (First Address Family Count 1).
    private static func interleaved(_ list: [Destination]) -> [ServerCandidate] {
        guard let first = list.first?.candidate.address.family else { return [] }
        let one = list.map(\.candidate).filter { $0.address.family == first }
        let other = list.map(\.candidate).filter { $0.address.family != first }
        var result: [ServerCandidate] = []
        for index in 0..<max(one.count, other.count) {
            if index < one.count { result.append(one[index]) }
            if index < other.count { result.append(other[index]) }
        }
        return result
    }

    /// A candidate with what the rules of RFC 6724 §6 compare: rules 1, 2, 5, 6, 8 and 9, the least first.
    private struct Destination {
        let candidate: ServerCandidate
        let isRouted: Bool
        let key: Key

        init(_ candidate: ServerCandidate, source: IPAddress?) {
            self.candidate = candidate
            isRouted = source != nil
            let ip = candidate.address.ip.unmapped
            let policy = AddressPolicy(ip)
            let matches = source.map(AddressPolicy.init)
            key = Key(
                parts: [
                    matches?.scope == policy.scope ? 0 : 1,
                    matches?.label == policy.label ? 0 : 1,
                    -policy.precedence,
                    policy.scope,
                    source.map { -AddressPolicy.commonPrefix($0, ip) } ?? 0,
                ]
            )
        }
    }

    private struct Key: Comparable {
        let parts: [Int]
        static func < (left: Key, right: Key) -> Bool { left.parts.lexicographicallyPrecedes(right.parts) }
    }
}

/// A line of the table of RFC 6724 §2.1, and the scope of §3.1, for one address.
struct AddressPolicy {
    let precedence: Int
    let label: Int
    let scope: Int

    init(_ ip: IPAddress) {
        let ip = ip.unmapped
        scope = ip.isLinkLocal || ip.isLoopback ? 2 : ip.family == .ipv6 && ip.high >> 54 == 0x3FB ? 5 : 14
        switch (ip.family, ip.high) {
        case (.ipv4, _): (precedence, label) = (35, 4)
        case (.ipv6, 0) where ip.low == 1: (precedence, label) = (50, 0)
        case (.ipv6, 0) where ip.low >> 32 == 0: (precedence, label) = (1, 3)
        case (.ipv6, let high) where high >> 48 == 0x2002: (precedence, label) = (30, 2)
        case (.ipv6, let high) where high >> 32 == 0x2001_0000: (precedence, label) = (5, 5)
        case (.ipv6, let high) where high >> 57 == 0x7E: (precedence, label) = (3, 13)
        case (.ipv6, let high) where high >> 54 == 0x3FB: (precedence, label) = (1, 11)
        case (.ipv6, let high) where high >> 48 == 0x3FFE: (precedence, label) = (1, 12)
        case (.ipv6, _): (precedence, label) = (40, 1)
        }
    }

    /// How many bits the networks of two IPv6 addresses have in common, at most 64; 0 for IPv4, whose prefixes mean
    /// nothing here.
    static func commonPrefix(_ one: IPAddress, _ other: IPAddress) -> Int {
        guard one.family == .ipv6, other.family == .ipv6 else { return 0 }
        return (one.high ^ other.high).leadingZeroBitCount
    }
}

extension Sequence where Element: Hashable {
    fileprivate func uniqued() -> [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
