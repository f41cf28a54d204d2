public import NetTypes

/// How a NAT chooses the external address and port of a flow (RFC 4787 §4.1).
public enum NATMapping: String, Hashable, Sendable, CaseIterable {
    /// One for each internal address and port.
    case endpointIndependent = "endpoint-independent"
    /// Another one for each address that is sent to.
    case addressDependent = "address-dependent"
    /// Another one for each address and port that is sent to.
    case addressAndPortDependent = "address-and-port-dependent"
}

/// From whom a NAT or firewall lets datagrams in (RFC 4787 §5).
public enum NATFiltering: String, Hashable, Sendable, CaseIterable {
    /// From everybody.
    case endpointIndependent = "endpoint-independent"
    /// From addresses that were sent to.
    case addressDependent = "address-dependent"
    /// From addresses and ports that were sent to.
    case addressAndPortDependent = "address-and-port-dependent"
}

/// What is known about one kind of behaviour.
public enum NATFinding<Value: Hashable & Sendable>: Hashable, Sendable {
    /// This was seen.
    case found(Value)
    /// Nobody asked, or it makes no sense here.
    case untested
    /// The server cannot help: what it lacks.
    case serverLacks(String)

    /// What was seen, if anything was.
    public var value: Value? {
        guard case .found(let value) = self else { return nil }
        return value
    }
}

/// How long a NAT remembers a flow that is silent.
public struct NATLifetime: Hashable, Sendable {
    /// The longest silence after which the flow still was there.
    public var alive: TimeSpan?
    /// The shortest silence after which it was gone.
    public var gone: TimeSpan?
}

/// What was found out about the boxes between a client and a server (RFC 5780 §4).
public struct NATReport: Hashable, Sendable {
    /// Whether the server answers over UDP; if not, nothing else is known.
    public var hasUDP = false
    /// Our address on this host.
    public var local: SocketAddress?
    /// Our address as the server sees it.
    public var mapped: SocketAddress?
    /// The server's SOFTWARE, text of its choice.
    public var software: String?
    /// How external addresses are chosen.
    public var mapping = NATFinding<NATMapping>.untested
    /// How external addresses of TCP connections are chosen.
    public var tcpMapping = NATFinding<NATMapping>.untested
    /// Who is let in.
    public var filtering = NATFinding<NATFiltering>.untested
    /// Whether two clients behind it reach each other by their external addresses.
    public var hairpin = NATFinding<Bool>.untested
    /// Whether datagrams in fragments come through, both ways.
    public var fragments = NATFinding<Bool>.untested
    /// How long a silent flow is remembered.
    public var lifetime = NATFinding<NATLifetime>.untested

    /// Whether addresses are translated; `nil` if that is not known.
    public var isTranslated: Bool? {
        guard let local, let mapped else { return nil }
        return local.unmapped != mapped.unmapped
    }

    /// Whether the external port is the one on this host.
    public var keepsPort: Bool? {
        guard let local, let mapped else { return nil }
        return local.port == mapped.port
    }

    /// What it means for calls, in sentences.
    public var verdict: [String] {
        guard hasUDP else {
            return [
                "No answer came over UDP: either something on the way blocks UDP, or no STUN server is there.",
                "If other servers do not answer either, calls need a TURN server over TCP or TLS.",
            ]
        }
        var words: [String] = []
        switch (isTranslated, mapping) {
        case (false?, _): words.append("There is no NAT: this host has the address that the server sees.")
        case (_, .found(.endpointIndependent)):
            words.append("The NAT gives this host one external address for all peers: direct calls are possible.")
        case (_, .found(let mapping)):
            words.append(
                "The NAT gives this host another external port for each peer "
                    + "(\(mapping.rawValue) mapping, \"symmetric\")."
            )
        case (_, .serverLacks(let what)): words.append("How the NAT maps is not known: the server lacks \(what).")
        case (_, .untested): break
        }
        if let sentence = callSentence { words.append(sentence) }
        if case .serverLacks(let what) = filtering {
            words.append("Who is let in is not known: the server lacks \(what).")
        }
        if hairpin.value == false {
            words.append("Two hosts behind this NAT do not reach each other by their external addresses.")
        }
        if fragments.value == false {
            words.append("Datagrams in fragments do not come through: keep them below 1200 bytes.")
        }
        if let gone = lifetime.value?.gone, gone < .seconds(30) {
            words.append("The NAT forgets silent flows within \(gone.seconds) s: send something more often than that.")
        }
        return words
    }

    /// With whom direct calls work: of two peers, one must be heard by the other without having sent to that very port.
    private var callSentence: String? {
        guard let filtering = filtering.value else { return nil }
        let mapping: NATMapping? = isTranslated == false ? .endpointIndependent : mapping.value
        switch (mapping, filtering) {
        case (.endpointIndependent?, .endpointIndependent):
            return "Anybody can send to it, so direct calls work with every peer that has UDP."
        case (.endpointIndependent?, .addressDependent):
            return
                "Only who was sent to is let in, from any of its ports: "
                + "direct calls work with every peer whose NAT keeps one address."
        case (.endpointIndependent?, .addressAndPortDependent):
            return "Only the very address and port that was sent to is let in: "
                + "direct calls work with most peers, but not with those behind a symmetric NAT."
        case (_?, .endpointIndependent), (_?, .addressDependent):
            return "Direct calls work with peers that let anybody or any port in; others need a TURN server."
        case (_?, .addressAndPortDependent):
            return "Direct calls work only with peers that let any port in; most calls need a TURN server."
        case (nil, _): return nil
        }
    }
}
