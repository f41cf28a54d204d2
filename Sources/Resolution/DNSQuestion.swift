public import NetTypes

/// A question to the domain name system: a name, and the records that are wanted.
public struct DNSQuestion: Hashable, Sendable, CustomStringConvertible {
    /// The kinds of records that lead to a server.
    public enum Kind: UInt16, Hashable, Sendable, CaseIterable {
        /// Addresses of IPv4.
        case a = 1
        /// Addresses of IPv6.
        case aaaa = 28
        /// Services: port and host (RFC 2782).
        case srv = 33
        /// Where a service's protocols are found (RFC 3403, RFC 3958).
        case naptr = 35
    }

    /// The name in lower case, without a final dot.
    public let name: String
    /// The kind of records.
    public let kind: Kind

    /// Makes a question; `nil` if the text is no name that can be asked for: 1 to 253 bytes, labels of 1 to 63.
    public init?(_ name: some StringProtocol, _ kind: Kind) {
        var name = name.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        guard (1...253).contains(name.utf8.count),
            name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
                .allSatisfy({ (1...63).contains($0.count) }),
            // What goes into a resolver, and into sentences: no spaces, no control characters, nothing to escape.
            name.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\\") })
        else { return nil }
        self.name = name
        self.kind = kind
    }

    /// The question as tools write it.
    public var description: String { "\(name) \(String(describing: kind).uppercased())" }
}

/// A record of an answer.
public enum DNSRecord: Hashable, Sendable {
    /// A or AAAA.
    case address(IPAddress)
    /// SRV.
    case service(DNSService)
    /// NAPTR.
    case pointer(DNSPointer)
}

/// An SRV record (RFC 2782).
public struct DNSService: Hashable, Sendable {
    /// Lower ones are tried first.
    public let priority: UInt16
    /// The share among those of one priority.
    public let weight: UInt16
    /// The port.
    public let port: UInt16
    /// The host; empty or a dot if the service is decidedly not offered.
    public let target: String

    /// Makes a record.
    public init(priority: UInt16, weight: UInt16, port: UInt16, target: String) {
        self.priority = priority
        self.weight = weight
        self.port = port
        self.target = target
    }
}

/// A NAPTR record without its regular expression (RFC 3403 §4.1): S-NAPTR has none (RFC 3958 §2.2).
public struct DNSPointer: Hashable, Sendable {
    /// Lower ones are tried first.
    public let order: UInt16
    /// The rank within an order.
    public let preference: UInt16
    /// What the replacement is: empty for another NAPTR, "s" for SRV, "a" for addresses.
    public let flags: String
    /// The service tag and the protocol tags, with colons between them.
    public let service: String
    /// The next name.
    public let replacement: String

    /// Makes a record.
    public init(order: UInt16, preference: UInt16, flags: String, service: String, replacement: String) {
        self.order = order
        self.preference = preference
        self.flags = flags
        self.service = service
        self.replacement = replacement
    }
}

/// What came of a question.
public enum DNSAnswer: Hashable, Sendable {
    /// These records; perhaps none of the kind that was asked for.
    case records([DNSRecord])
    /// The name does not exist, or has no such records.
    case nothing
    /// No answer came, or none of use.
    case failed(DNSFailure)

    /// Without the records that nobody will look at.
    var limited: DNSAnswer {
        guard case .records(let records) = self, records.count > ServerResolution.recordLimit else { return self }
        return .records(Array(records.prefix(ServerResolution.recordLimit)))
    }
}

/// Why a question has no answer.
public enum DNSFailure: Hashable, Sendable, CustomStringConvertible {
    /// No name server has answered in time.
    case timedOut
    /// No name server could be reached.
    case unreachable
    /// A name server could not find out, or did not want to.
    case refused
    /// An answer came that cannot be read.
    case malformed

    /// What went wrong, in words.
    public var description: String {
        switch self {
        case .timedOut: "no name server answered in time"
        case .unreachable: "no name server can be reached"
        case .refused: "the name server could not find out"
        case .malformed: "the name server's answer is malformed"
        }
    }
}
