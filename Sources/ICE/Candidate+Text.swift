import NetTypes

/// What is wrong with a line of ICE attributes.
public enum CandidateError: Error, Hashable, Sendable {
    /// Fewer fields than RFC 8839 §5.1 demands.
    case tooFewFields(Int)
    /// The foundation is not 1 to 32 ice-chars.
    case badFoundation
    /// The component is not 1 to 256.
    case badComponent
    /// A transport that is neither UDP nor TCP: the line is to be ignored.
    case unknownTransport
    /// The priority is not 1 to 2^31 - 1.
    case badPriority
    /// The host part is neither an address nor a name.
    case badAddress
    /// The port is not a number up to 65535.
    case badPort
    /// A type that is not known: the line is to be ignored.
    case unknownType
    /// A related address or port that is none, or that the type must not have.
    case badRelatedAddress
    /// A TCP candidate without its `tcptype`, or with one that is not known.
    case badTCPType
    /// A user name fragment that is not 4 to 256 ice-chars.
    case badUsernameFragment
    /// A password that is not 22 to 256 ice-chars.
    case badPassword
    /// An attribute with a number that is none.
    case badNumber
    /// The line is longer than any candidate.
    case tooLong
}

extension CandidateType {
    /// The name in `typ`.
    public var name: String {
        switch self {
        case .host: "host"
        case .serverReflexive: "srflx"
        case .peerReflexive: "prflx"
        case .relayed: "relay"
        }
    }
}

extension TCPCandidateType {
    /// The name in `tcptype` (RFC 6544 §4.5).
    public var name: String {
        switch self {
        case .active: "active"
        case .passive: "passive"
        case .simultaneousOpen: "so"
        }
    }
}

/// The characters of user name fragments, passwords and foundations (RFC 8839 §5.1).
func isICEText(_ text: some StringProtocol, count: ClosedRange<Int>) -> Bool {
    count.contains(text.utf8.count)
        && text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                true
            default: false
            }
        }
}

/// A decimal number without sign, of at most so many digits.
func decimal<Number: FixedWidthInteger>(_ text: some StringProtocol, digits: Int) -> Number? {
    guard (1...digits).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Number(text)
}

extension Candidate {
    /// How long a line may be that is read.
    public static let maximumTextByteCount = 2048

    /// Reads `candidate:…`, with or without `a=` in front (RFC 8839 §5.1, RFC 6544 §4.5; ice 108 to 110, 122).
    ///
    /// Attributes that are not known are kept; of known ones that occur twice, the first counts.
    /// - Throws: `CandidateError`; the line is then to be ignored, not the description around it.
    public init(text: some StringProtocol) throws(CandidateError) {
        let text = String(text)
        guard text.utf8.count <= Self.maximumTextByteCount else { throw .tooLong }
        var line = text[text.startIndex...]
        if line.hasPrefix("a=") { line = line.dropFirst(2) }
        if line.hasPrefix("candidate:") { line = line.dropFirst(10) }
        let fields = line.split(whereSeparator: { $0 == " " || $0 == "\r" || $0 == "\n" || $0 == "\r\n" })
        guard fields.count >= 8 else { throw .tooFewFields(fields.count) }
        guard isICEText(fields[0], count: 1...32) else { throw .badFoundation }
        guard let component: UInt16 = decimal(fields[1], digits: 3), (1...256).contains(component) else {
            throw .badComponent
        }
        let transport: CandidateTransport
        switch fields[2].lowercased() {
        case "udp": transport = .udp
        case "tcp": transport = .tcp
        default: throw .unknownTransport
        }
        guard let priority: UInt32 = decimal(fields[3], digits: 10), (1...0x7FFF_FFFF).contains(priority) else {
            throw .badPriority
        }
        guard let address = CandidateAddress(text: fields[4]) else { throw .badAddress }
        guard let port: UInt16 = decimal(fields[5], digits: 5) else { throw .badPort }
        guard fields[6] == "typ", let type = CandidateType.allCases.first(where: { $0.name == fields[7] }) else {
            throw .unknownType
        }
        self.init(
            foundation: String(fields[0]),
            component: component,
            transport: transport,
            priority: priority,
            address: address,
            port: port,
            type: type
        )
        try readAttributes(fields[8...].map { String($0) })
        guard (transport == .tcp) == (tcpType != nil) else { throw .badTCPType }
    }

    private mutating func readAttributes(_ fields: [String]) throws(CandidateError) {
        var relatedIP: IPAddress?
        var relatedPort: UInt16?
        var index = 0
        while index < fields.count {
            let name = fields[index]
            let value = index + 1 < fields.count ? fields[index + 1] : ""
            index += 2
            switch name {
            case "raddr":
                guard let address = CandidateAddress(text: value) else { throw .badRelatedAddress }
                if case .ip(let ip) = address { relatedIP = ip }
            case "rport":
                guard let port: UInt16 = decimal(value, digits: 5) else { throw .badRelatedAddress }
                relatedPort = port
            case "tcptype" where tcpType == nil:
                guard let kind = TCPCandidateType.allCases.first(where: { $0.name == value }) else { throw .badTCPType }
                tcpType = kind
            case "ufrag" where usernameFragment == nil:
                guard isICEText(value, count: 4...256) else { throw .badUsernameFragment }
                usernameFragment = value
            case "generation" where generation == nil:
                guard let number: UInt32 = decimal(value, digits: 10) else { throw .badNumber }
                generation = number
            case "network-id" where networkID == nil:
                guard let number: UInt16 = decimal(value, digits: 5) else { throw .badNumber }
                networkID = number
            case "network-cost" where networkCost == nil:
                guard let number: UInt16 = decimal(value, digits: 5) else { throw .badNumber }
                networkCost = min(number, 999)
            default:
                extensions.append(CandidateExtension(name: name, value: value))
            }
        }
        // A host candidate has no related address (ice 110), and zeros stand for one that is hidden.
        if type != .host, let relatedIP, !relatedIP.isUnspecified {
            related = SocketAddress(relatedIP, port: relatedPort ?? 9)
        }
    }

    /// `candidate:…` without `a=` in front.
    public var text: String {
        var line = "candidate:\(foundation) \(component) \(transport == .udp ? "udp" : "tcp") \(priority)"
        line += " \(address.text) \(port) typ \(type.name)"
        if type != .host {
            // Who hides the related address writes zeros and the port 9 (RFC 8839 §5.1).
            let hidden = SocketAddress(.unspecified(socketAddress?.family ?? .ipv4), port: 9)
            line += " raddr \((related ?? hidden).ip) rport \((related ?? hidden).port)"
        }
        if let tcpType { line += " tcptype \(tcpType.name)" }
        if let generation { line += " generation \(generation)" }
        if let usernameFragment { line += " ufrag \(usernameFragment)" }
        if let networkID { line += " network-id \(networkID)" }
        if let networkCost { line += " network-cost \(networkCost)" }
        for attribute in extensions { line += " \(attribute.name) \(attribute.value)" }
        return line
    }
}

extension CandidateAddress {
    /// Reads an address or a name; `nil` if it is neither.
    init?(text: some StringProtocol) {
        let text = String(text)
        if let ip = IPAddress(text: text) {
            self = .ip(ip)
        } else if Self.isName(text) {
            self = .name(text)
        } else {
            return nil
        }
    }

    /// Letters, digits, hyphens and dots, with a letter at the end, so that no broken address passes for a name.
    private static func isName(_ text: String) -> Bool {
        guard (1...253).contains(text.utf8.count), let last = text.utf8.last, isLetter(last) else { return false }
        return text.split(separator: ".", omittingEmptySubsequences: false).map(String.init).allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.utf8.first != UInt8(ascii: "-")
                && label.utf8.last != UInt8(ascii: "-")
                && label.utf8.allSatisfy { isLetter($0) || (48...57).contains($0) || $0 == UInt8(ascii: "-") }
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (97...122).contains(byte | 0x20) }

    /// The address or the name as written.
    public var text: String {
        switch self {
        case .ip(let ip): ip.description
        case .name(let name): name
        }
    }
}
