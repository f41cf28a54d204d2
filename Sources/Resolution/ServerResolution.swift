public import NetTypes
import STUN

/// Finds the servers that a URI stands for (RFC 5928, RFC 8489 §8): questions out, answers in, a list out.
///
///     while let question = resolution.pollQuestion() { … ask … }
///     resolution.receive(answer, to: question)               // as often as answers come, in any order
///     if let outcome = resolution.outcome { … }
///
/// It holds no more than the answers: after each, the algorithm of the text is run anew over what is known, and asks for
/// what it misses. What would be asked if there were no records is asked at the same time, which saves round trips. The
/// outcome does not depend on the order of answers. At most `questionLimit` questions are asked, `recordLimit` records of
/// each answer are looked at, `candidateLimit` candidates come out, and NAPTR records are followed eight deep.
public struct ServerResolution: Sendable {
    /// How many questions are asked at most.
    public static let questionLimit = 64
    /// How many records of an answer are looked at.
    public static let recordLimit = 16
    /// How many candidates come out at most.
    public static let candidateLimit = 64
    static let depthLimit = 8

    /// What is looked for.
    public let query: ServerQuery
    /// The servers in the order in which to try them, or why there are none; `nil` while answers are missing.
    public private(set) var outcome: Result<[ServerCandidate], ResolutionError>?
    private var answers: [DNSQuestion: DNSAnswer] = [:]
    private var asked: Set<DNSQuestion> = []
    private var questions: [DNSQuestion] = []
    private let seed: UInt64

    /// Begins; there may be an outcome at once, if nothing needs to be asked.
    ///
    /// `entropy` decides among SRV records by their weights.
    public init(_ query: ServerQuery, entropy: Entropy = .system) {
        self.query = query
        var entropy = entropy
        seed = entropy.next()
        run()
    }

    /// Takes the next question to ask.
    public mutating func pollQuestion() -> DNSQuestion? { questions.isEmpty ? nil : questions.removeFirst() }

    /// Whether there is nothing to ask at present.
    public var hasNoQuestion: Bool { questions.isEmpty }

    /// Takes an answer; one that nobody has asked for, or a second one, changes nothing.
    public mutating func receive(_ answer: DNSAnswer, to question: DNSQuestion) {
        guard outcome == nil, asked.contains(question), answers[question] == nil else { return }
        answers[question] = answer.limited
        run()
    }

    /// Takes what has not come as lost: the caller does not want to wait any longer.
    public mutating func giveUpWaiting() {
        for question in asked where answers[question] == nil { answers[question] = .failed(.timedOut) }
        questions = []
        while outcome == nil {
            run()
            for question in asked where answers[question] == nil { answers[question] = .failed(.timedOut) }
        }
        questions = []
    }

    private mutating func run() {
        var walk = ResolutionWalk(query, answers, entropy: .seeded(seed))
        let result: Result<[ServerCandidate], ResolutionError>
        do throws(ResolutionError) {
            result = .success(try walk.candidates())
        } catch {
            result = .failure(error)
        }
        for question in walk.missing where asked.count < Self.questionLimit {
            if asked.insert(question).inserted { questions.append(question) }
        }
        if asked.allSatisfy({ answers[$0] != nil }) {
            outcome = result
            questions = []
        }
    }
}

/// Why no server was found.
public enum ResolutionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The caller can use none of the transports that the URI means.
    case unsupportedTransport
    /// The text is no name that can be looked up.
    case badName(String)
    /// The name has no address, and no records that lead to one.
    case noAddress(String)
    /// The records of the name say that there is no such service.
    case notOffered(String)
    /// Nothing was found, and at least one question has no answer.
    case lookupFailed(String, DNSFailure)

    /// What went wrong, in words.
    public var description: String {
        switch self {
        case .unsupportedTransport: "no transport that this URI means is supported here"
        case .badName(let name): "'\(name)' is no name that can be looked up"
        case .noAddress(let name): "the name '\(name)' has no address"
        case .notOffered(let name): "the records of '\(name)' say that it does not offer this service"
        case .lookupFailed(let name, let failure): "the name '\(name)' could not be looked up: \(failure)"
        }
    }
}
