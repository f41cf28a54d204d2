public import NetTypes

/// How strongly a rule binds.
public enum RuleLevel: String, Sendable, Hashable, CaseIterable {
    /// A MUST of an RFC, or what it states without a word of RFC 2119.
    case must = "MUST"
    /// A SHOULD or RECOMMENDED of an RFC.
    case should = "SHOULD"
    /// A MAY of an RFC.
    case may = "MAY"
    /// Derived from security considerations or practice; no RFC demands it.
    case ours
}

/// One thing that can be seen of a server from outside, with the number of the rule that it is part of.
public struct Rule: Sendable {
    /// The number in the list of rules.
    public let number: Int
    /// What a right server does, as a sentence.
    public let title: String
    /// The RFC and its section: `RFC 8656 §7.2`.
    public let section: String
    /// How strongly it binds.
    public let level: RuleLevel
    /// Over what it is tried.
    public let transports: [TransportProtocol]
    /// What a right server does with what is sent.
    public let due: String
    /// Whether it takes minutes, so that it is tried on demand only.
    public let isSlow: Bool
    let body: @Sendable (Probe) throws(Finding) -> Void
}

/// Why a trial of a rule ended before all of its observations were right.
enum Finding: Error, Equatable {
    /// The server does something else.
    case failed(String)
    /// The rule says nothing about this server or this place.
    case notApplicable(String)
    /// What the rule presupposes could not be brought about, so nothing was learnt.
    case blocked(String)
}

/// The rules in the order of their groups.
struct RuleTable {
    private(set) var rules: [Rule] = []

    mutating func add(
        _ number: Int,
        _ title: String,
        _ section: String,
        _ level: RuleLevel = .must,
        on transports: [TransportProtocol] = TransportProtocol.allCases,
        due: String,
        isSlow: Bool = false,
        _ body: @escaping @Sendable (Probe) throws(Finding) -> Void
    ) {
        rules.append(
            Rule(
                number: number,
                title: title,
                section: section,
                level: level,
                transports: transports,
                due: due,
                isSlow: isSlow,
                body: body
            )
        )
    }

    /// Every rule that the suite can try, by number.
    static let all: [Rule] = {
        var table = RuleTable()
        table.addMessageFormat()
        table.addDiscards()
        table.addUnknownAttributes()
        table.addResponses()
        table.addAttributeLimits()
        table.addChallenges()
        table.addRefusedCredentials()
        table.addPasswordAlgorithms()
        table.addProtection()
        table.addAllocate()
        table.addAllocateRefusals()
        table.addPorts()
        table.addRetransmissions()
        table.addRefresh()
        table.addPermissions()
        table.addPermissionRefusals()
        table.addSend()
        table.addData()
        table.addChannelBinding()
        table.addChannelData()
        table.addGate()
        table.addTemporaryCredentials()
        table.addExpiry()
        table.addThirdParty()
        table.addMobility()
        table.addDiscovery()
        table.addTCPAllocations()
        return table.rules.sorted { $0.number < $1.number }
    }()
}
