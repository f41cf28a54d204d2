import Connectivity
import Instruments
import NetTypes
import PortMapping
public import STUN

/// What was found about one machine's way to others, for people (`sentences`) and for programs (`Encodable`).
public struct Examination: Sendable, Encodable {
    /// An interface with its addresses.
    public struct Interface: Sendable, Hashable, Encodable {
        /// The system's name.
        public var name: String
        /// What it leads over.
        public var kind: String
        /// The addresses with their prefixes.
        public var addresses: [String]
        /// Whether the default route of a family leaves from one of its addresses.
        public var isDefaultRoute: Bool
    }

    /// A way to a server.
    public struct Way: Sendable, Hashable, Encodable {
        /// UDP, TCP, TLS or DTLS.
        public var transport: String
        /// The server as it was looked for.
        public var server: String
        /// Where it was found.
        public var address: String?
        /// Whether it has answered.
        public var isOpen: Bool
        /// How long answers took.
        public var roundTripMilliseconds: [Double]
        /// Why there was no answer.
        public var failure: String?
    }

    /// What stands between this machine and the server, as RFC 5780 tells.
    public struct Translation: Sendable, Hashable, Encodable {
        /// Our address as the server sees it.
        public var mappedAddress: String?
        /// Whether it is another than ours.
        public var isTranslated: Bool?
        /// How destinations are told apart when a port is mapped.
        public var mapping: String?
        /// Who is let in.
        public var filtering: String?
        /// Whether hosts behind the same NAT reach each other by their external addresses.
        public var hairpin: Bool?
        /// What that means, in sentences.
        public var verdict: [String]

        /// Takes what is said of a report.
        public init(_ report: NATReport) {
            mappedAddress = report.mapped?.description
            isTranslated = report.isTranslated
            mapping = report.mapping.value?.rawValue
            filtering = report.filtering.value?.rawValue
            hairpin = report.hairpin.value
            verdict = report.verdict
        }
    }

    /// How long packets may be, in bytes of whole IP packets.
    public struct PacketLength: Sendable, Hashable, Encodable {
        /// The longest that was answered.
        public var longest: Int?
        /// The shortest that was lost for its length.
        public var shortestLost: Int?
    }

    /// What a gateway says to one protocol of port mapping.
    public struct Gateway: Sendable, Hashable, Encodable {
        /// Our interface.
        public var interface: String
        /// The gateway.
        public var gateway: String
        /// PCP, NAT-PMP or UPnP.
        public var name: String
        /// The external address that it gave.
        public var external: String?
        /// Whether that address is private itself.
        public var isBehindAnotherNAT: Bool?
        /// Why it gave none.
        public var failure: String?
    }

    /// The interfaces.
    public var interfaces: [Interface] = []
    /// The ways to the servers.
    public var ways: [Way] = []
    /// The NAT; `nil` without a server that tells.
    public var nat: Translation?
    /// The packets' length; `nil` without a server over UDP.
    public var packetLength: PacketLength?
    /// The gateways.
    public var gateways: [Gateway] = []
    /// Our candidates.
    public var candidates: [String] = []
    /// Servers that gave no candidate, and why.
    public var serverFailures: [String] = []
    /// What all of it means.
    public var verdict: [String] = []

    /// Makes an examination that has found nothing yet.
    public init() {}

    /// Whether others can reach this machine in the best way that is known: over UDP, or at least over a relay.
    public var isGood: Bool {
        !candidates.isEmpty && serverFailures.isEmpty && (ways.isEmpty || ways.contains(where: \.isOpen))
    }
}

extension Examination {
    /// What the findings mean, in sentences, the most important first.
    public var sentences: [String] {
        var words = [addressSentence, waySentence, relaySentence].compactMap(\.self)
        words += nat?.verdict ?? []
        if let sentence = lengthSentence { words.append(sentence) }
        if let sentence = gatewaySentence { words.append(sentence) }
        return words
    }

    private var addressSentence: String? {
        if interfaces.isEmpty { return "This machine has no interface that is up: connect it to a network." }
        if !interfaces.contains(where: \.isDefaultRoute) {
            return "No default route leads to the Internet: only machines of the same networks can be reached."
        }
        return nil
    }

    private var waySentence: String? {
        guard !ways.isEmpty else {
            return "No server was looked at: give one with --server, --stun or --turn."
        }
        let open = ways.filter(\.isOpen)
        if open.isEmpty {
            return "Nothing reaches the server: its address is wrong, it is down, or a firewall is in the way."
        }
        if open.contains(where: { $0.transport == "UDP" }) {
            guard let slow = ways.first(where: { !$0.isOpen && $0.isUsual }) else {
                return "Every way to the server is open."
            }
            return "UDP reaches the server; \(slow.transport) to \(slow.server) does not."
        }
        let names = open.map { "\($0.transport) to \($0.server)" }
        return "UDP does not reach the server: calls must go over a TURN server, by \(names.joined(separator: " or "))."
    }

    private var relaySentence: String? {
        guard !ways.isEmpty else { return nil }
        if candidates.contains(where: { $0.contains(" typ relay") }) {
            return "A TURN server relays for this machine: every peer that reaches one can be called."
        }
        if let failure = serverFailures.first { return "No TURN server relays for this machine: \(failure)." }
        return "Nobody relays for this machine: peers behind strict NATs cannot be reached."
    }

    private var lengthSentence: String? {
        guard let longest = packetLength?.longest, let lost = packetLength?.shortestLost else { return nil }
        return longest < 1280
            ? "Packets of \(lost) bytes are lost, those of \(longest) come through: media and data must be cut shorter."
            : "Packets of up to \(longest) bytes come through, those of \(lost) do not."
    }

    private var gatewaySentence: String? {
        guard let found = gateways.first(where: { $0.external != nil }), let external = found.external else {
            return gateways.isEmpty ? nil : "The gateway opens no ports by PCP, NAT-PMP or UPnP."
        }
        if found.isBehindAnotherNAT == true {
            return "The gateway opens ports by \(found.name), but is itself behind a NAT (\(external))."
        }
        return "The gateway opens ports by \(found.name): peers can reach this machine at \(external)."
    }
}

extension Examination.Way {
    /// Whether every server of this project has it, so that its absence says something about the path.
    fileprivate var isUsual: Bool { transport == "TCP" || transport == "TLS" && !server.hasSuffix(":443") }
}
