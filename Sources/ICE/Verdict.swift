import NetTypes
public import STUN

/// Why an agent is, or is not, connected: an outcome, and under it every finding with its evidence.
public struct Verdict: Hashable, Sendable {
    /// How it stands.
    public enum Outcome: Hashable, Sendable {
        /// Nothing has begun.
        case idle
        /// Checks are under way.
        case connecting
        /// Data flows between the hosts.
        case direct
        /// Data flows over a TURN server.
        case relayed
        /// The path does not answer at present.
        case interrupted
        /// There is no path.
        case failed
        /// The owner has ended it.
        case closed
    }

    /// How it stands.
    public let outcome: Outcome
    /// What speaks for it, the most important first; empty for a direct path.
    public let findings: [Finding]
}

/// One reason why there is no path, or no direct one.
public struct Finding: Hashable, Sendable {
    /// What is the matter.
    public enum Cause: Hashable, Sendable {
        /// This host has no address to offer.
        case noLocalCandidates
        /// The peer has signalled none, or none that can be used.
        case noRemoteCandidates
        /// No candidates of both sides fit together: families, transports.
        case nothingToPair
        /// Nothing comes back over UDP, from no server and no peer.
        case udpBlocked
        /// A server does not answer or cannot be reached.
        case serverUnreachable
        /// A server answers and refuses.
        case serverRefuses
        /// Our NAT gives another address for each destination, so that the peer cannot know it before.
        case hardNAT
        /// The same is likely of the peer: its checks came from addresses that it did not know.
        case hardNATOfPeer
        /// The peer's requests come, our own requests find no answer.
        case asymmetricPath
        /// Nothing at all came from the peer.
        case peerSilent
        /// The path worked, and then no answer came any more.
        case consentLost
        /// Datagrams are longer than a link lets through.
        case packetTooBig
        /// The system does not let us send.
        case sendingRefused
        /// Both sides do not have the same passwords.
        case credentialTrouble
        /// Both sides do not agree on who controls.
        case roleTrouble
        /// The peer answers checks with an error.
        case peerRefuses
        /// Names of the peer could not be resolved.
        case namesNotResolved
        /// Connections over TCP were not made.
        case connectionsFailed
    }

    /// What is the matter.
    public let cause: Cause
    /// What shows it.
    public let evidence: [Evidence]
}

/// One observed fact.
public enum Evidence: Hashable, Sendable {
    /// A count of something; the name says of what.
    case count(Counted, UInt32)
    /// How a base was seen from outside.
    case mapping(MappingObservation)
    /// What the gatherer has told.
    case fact(GatheringFact)
    /// The number of an error response.
    case errorCode(ErrorCode)
    /// The size that fits.
    case mtu(UInt16)

    /// What is counted.
    public enum Counted: String, Hashable, Sendable, CaseIterable {
        /// Candidates of our own.
        case localCandidates = "candidates of this host"
        /// Candidates of the peer.
        case remoteCandidates = "candidates of the peer"
        /// Pairs.
        case pairs = "pairs"
        /// Pairs that have failed.
        case failedPairs = "pairs that failed"
        /// Requests that were sent.
        case requestsSent = "checks sent"
        /// Answers that came.
        case responsesReceived = "checks answered"
        /// Requests of the peer.
        case requestsReceived = "checks of the peer received"
        /// Answers from elsewhere than where the request went.
        case asymmetricResponses = "answers from another address"
        /// Messages whose integrity was wrong.
        case badIntegrity = "messages under a wrong password"
        /// Requests for another session.
        case foreignRequests = "checks meant for another session"
        /// Changes of role.
        case roleChanges = "changes of role"
        /// Paths that were lost.
        case consentLost = "paths lost"
        /// Sends that failed.
        case sendFailures = "datagrams that the system refused"
        /// Connections that failed.
        case connectionsFailed = "connections that failed"
        /// Addresses of the peer that nobody had signalled.
        case unsignalledAddresses = "addresses of the peer that it did not signal"
    }
}

extension Verdict {
    /// Whether one of the findings has that cause.
    public func contains(_ cause: Finding.Cause) -> Bool { findings.contains { $0.cause == cause } }

    /// The first finding's sentence, or that all is well.
    public var summary: String {
        switch outcome {
        case .direct: "Connected directly."
        case .idle: "Nothing has begun."
        case .closed: "Closed."
        case .connecting, .relayed, .interrupted, .failed:
            findings.first?.cause.sentence ?? "No reason is known yet."
        }
    }
}

extension Finding.Cause {
    /// What is the matter and what helps.
    public var sentence: String {
        switch self {
        case .noLocalCandidates: "This host has no usable address: check its interfaces and the policy for candidates."
        case .noRemoteCandidates: "The peer has signalled no usable candidate: check signaling, and the peer's network."
        case .nothingToPair: "No candidates fit together: one side has only IPv4 or UDP, the other only IPv6 or TCP."
        case .udpBlocked: "UDP does not pass: configure a TURN server over TLS on port 443."
        case .serverUnreachable: "A STUN or TURN server does not answer: check its address, and firewalls on the way."
        case .serverRefuses: "A TURN server refuses: check the credentials and its limits."
        case .hardNAT: "The NAT here maps each destination differently: a TURN server or a port mapping is needed."
        case .hardNATOfPeer: "The peer's NAT maps each destination differently: a TURN server is needed."
        case .asymmetricPath:
            "The peer's packets arrive here, ours or their answers do not: a firewall filters one way."
        case .peerSilent: "Nothing came from the peer: it is not checking, or both NATs filter. Try a TURN server."
        case .consentLost: "The path worked and was lost: the network has changed, or the peer is gone. Restart ICE."
        case .packetTooBig: "Datagrams are too long for a link on the way: send shorter ones."
        case .sendingRefused: "The system refuses to send: check routes, the firewall of this host, TURN permissions."
        case .credentialTrouble:
            "The sides use different passwords: a description is old, or belongs to another session."
        case .roleTrouble: "Both sides take the same role again and again: one of them does not follow RFC 8445."
        case .peerRefuses: "The peer answers checks with an error: it does not know this session, or has ended it."
        case .namesNotResolved: "Names of the peer (.local) could not be resolved: multicast does not pass."
        case .connectionsFailed: "TCP connections to the peer could not be made."
        }
    }
}
