public import CommandLineSupport
public import NetTypes

/// Which addresses are handed out as relayed addresses, and why.
public struct RelayAddressing: Sendable, Equatable {
    /// An address of this machine, as far as the choice needs to know it.
    public struct Candidate: Sendable, Equatable {
        /// The name of the interface.
        public let interface: String
        /// The address.
        public let address: IPAddress
        /// Whether packets to the Internet leave from this address.
        public let isDefaultSource: Bool

        /// Makes a candidate.
        public init(interface: String, address: IPAddress, isDefaultSource: Bool) {
            self.interface = interface
            self.address = address
            self.isDefaultSource = isDefaultSource
        }
    }

    /// A chosen address.
    public struct Choice: Sendable, Equatable {
        /// The address that sockets are bound to.
        public let local: IPAddress
        /// The address that peers see.
        public let external: IPAddress
        /// Why it was chosen, in a few words.
        public let reason: String
    }

    /// The chosen addresses, at most one of each family unless the operator named more.
    public private(set) var choices: [Choice] = []
    /// What the operator should know about the choice, in whole sentences.
    public private(set) var warnings: [String] = []

    /// Chooses from the addresses of this machine.
    ///
    /// - Throws: a sentence, if the operator named an address that this machine does not have.
    public init(_ candidates: [Candidate], _ options: ServeOptions) throws(UsageError) {
        let locals = try Self.locals(candidates, options)
        for (candidate, reason) in locals {
            let family = candidate.address.family
            let mapping =
                options.externalAddresses.first { $0.local == candidate.address }
                ?? options.externalAddresses.first { $0.local == nil && $0.external.family == family }
            let external = mapping?.external ?? candidate.address
            let why = mapping == nil ? reason : "\(reason), seen by peers as --external-ip says"
            choices.append(Choice(local: candidate.address, external: external, reason: why))
        }
        let discovery = options.natDiscovery.flatMap { [$0.first, $0.second] }
        for mapping in options.externalAddresses where !choices.contains(where: { $0.external == mapping.external }) {
            if let local = mapping.local, discovery.contains(local) { continue }
            throw UsageError(
                "'--external-ip \(mapping)' fits none of the relay addresses, which are: \(Self.list(choices))."
            )
        }
        warnings = Self.warnings(choices)
    }

    private static func locals(
        _ candidates: [Candidate],
        _ options: ServeOptions
    ) throws(UsageError) -> [(Candidate, String)] {
        if !options.relayAddresses.isEmpty {
            return try options.relayAddresses.map { address throws(UsageError) in
                guard let found = candidates.first(where: { $0.address == address }) else {
                    let have = candidates.map { "\($0.address)" }.joined(separator: ", ")
                    throw UsageError("'--relay-ip \(address)' is not an address of this machine, which has: \(have).")
                }
                return (found, "named by --relay-ip")
            }
        }
        let named = options.listen.filter { !$0.isUnspecified }
        if !named.isEmpty, named.count == options.listen.count {
            return AddressFamily.allCases.compactMap { family in
                let found = candidates.filter { named.contains($0.address) && $0.address.family == family }
                let best =
                    found.first(where: \.isDefaultSource) ?? found.first { !$0.address.isLoopback } ?? found.first
                return best.map { ($0, "listened on (--listen)") }
            }
        }
        let usable = candidates.filter { !$0.address.isLoopback && !$0.address.isLinkLocal }
        let found = AddressFamily.allCases.compactMap { family -> (Candidate, String)? in
            let ofFamily = usable.filter { $0.address.family == family }
            guard let best = ofFamily.first(where: \.isDefaultSource) ?? ofFamily.first else { return nil }
            return (
                best, "found on \(best.interface)" + (best.isDefaultSource ? ", where the default route leads" : "")
            )
        }
        if !found.isEmpty { return found }
        let loopback = candidates.first { $0.address == .loopback(.ipv4) } ?? candidates.first { $0.address.isLoopback }
        return loopback.map { [($0, "this machine has no other address")] } ?? []
    }

    private static func warnings(_ choices: [Choice]) -> [String] {
        var warnings: [String] = []
        if choices.isEmpty {
            warnings.append("No address to relay from was found: calls that need the relay will fail.")
        }
        for choice in choices where choice.external.isLoopback {
            warnings.append(
                "Relayed address \(choice.external) is loopback: only peers on this machine can use the relay."
            )
        }
        for choice in choices where choice.external.isPrivate {
            warnings.append(
                "Relayed address \(choice.external) is private: peers outside of this network cannot reach it; "
                    + "give the public one with --external-ip."
            )
        }
        return warnings
    }

    private static func list(_ choices: [Choice]) -> String { choices.map { "\($0.local)" }.joined(separator: ", ") }
}

extension IPAddress {
    /// Whether this is in one of the ranges for private use (RFC 1918, RFC 4193) or shared by a carrier (RFC 6598).
    public var isPrivate: Bool {
        switch family {
        case .ipv4: low &>> 24 == 10 || low &>> 20 == 0xAC1 || low &>> 16 == 0xC0A8 || low &>> 22 == 0x191
        case .ipv6: high &>> 57 == 0x7E
        }
    }
}
