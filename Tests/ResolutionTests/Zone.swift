import NetTypes
import Resolution
import STUN
import TURN
import TestSupport
import Testing

/// A name server's records, as text, and the questions that were asked of it.
struct Zone {
    private var records: [DNSQuestion: [DNSRecord]] = [:]
    var failures: [DNSQuestion: DNSFailure] = [:]
    var asked: [DNSQuestion] = []

    /// Reads lines of a zone: `NAME A ADDRESS`, `NAME SRV PRIORITY WEIGHT PORT HOST`,
    /// `NAME NAPTR ORDER PREFERENCE FLAGS SERVICE REPLACEMENT` with `-` for no flags.
    init(_ text: String) {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            func number(_ index: Int) -> UInt16 { UInt16(words[index]) ?? 0 }
            switch words[1] {
            case "A": add(words[0], .a, .address(ip(words[2])))
            case "AAAA": add(words[0], .aaaa, .address(ip(words[2])))
            case "SRV":
                let record = DNSService(priority: number(2), weight: number(3), port: number(4), target: words[5])
                add(words[0], .srv, .service(record))
            default:
                let flags = words[4] == "-" ? "" : words[4]
                let record = DNSPointer(
                    order: number(2),
                    preference: number(3),
                    flags: flags,
                    service: words[5],
                    replacement: words[6]
                )
                add(words[0], .naptr, .pointer(record))
            }
        }
    }

    mutating func add(_ name: String, _ kind: DNSQuestion.Kind, _ record: DNSRecord) {
        if let question = DNSQuestion(name, kind) { records[question, default: []].append(record) }
    }

    mutating func answer(_ question: DNSQuestion) -> DNSAnswer {
        asked.append(question)
        if let failure = failures[question] { return .failed(failure) }
        return records[question].map { .records($0) } ?? .nothing
    }

    /// Resolves, with the answers in an order that the seed decides.
    mutating func resolve(
        _ query: ServerQuery,
        seed: UInt64 = 1
    ) -> Result<[ServerCandidate], ResolutionError>? {
        var resolution = ServerResolution(query, entropy: .seeded(7))
        var entropy = Entropy.seeded(seed)
        var open: [DNSQuestion] = []
        while resolution.outcome == nil {
            while let question = resolution.pollQuestion() { open.append(question) }
            guard !open.isEmpty else { return nil }
            let question = open.remove(at: Int(entropy.next() % UInt64(open.count)))
            resolution.receive(answer(question), to: question)
        }
        return resolution.outcome
    }

    /// The candidates as `transport address`, or the error's words.
    mutating func list(
        _ uri: String,
        _ supported: [TransportProtocol] = [.udp, .tcp, .tls],
        seed: UInt64 = 1
    ) -> [String] {
        let query: ServerQuery
        if uri.hasPrefix("stun"), let uri = try? STUNURI(uri), let transport = supported.first {
            query = ServerQuery(uri, over: transport)
        } else if let uri = try? TURNURI(uri) {
            query = ServerQuery(uri, supported: supported)
        } else {
            return ["no URI"]
        }
        switch resolve(query, seed: seed) {
        case .success(let found)?: return found.map { "\($0.transport) \($0.address)" }
        case .failure(let error)?: return ["\(error)"]
        case nil: return ["stuck"]
        }
    }
}

func ip(_ text: String) -> IPAddress { IPAddress(text) ?? .unspecified(.ipv4) }
