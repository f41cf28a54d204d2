import Bytes
import Connectivity
import EventLoop
import NameResolver
import NetTypes
import Resolution

/// Who has asked for the addresses of a name.
struct NameAsker: Sendable {
    let session: SlotHandle
    let effect: EffectID
}

/// The addresses of a name; none if it has none, or if nobody knows.
struct NameAnswer {
    let asker: NameAsker
    let addresses: [IPAddress]
}

/// The addresses of names, of both families, for all sessions of a loop: each name is asked for once at a time.
final class NameLookups {
    /// How long the second family is waited for once the first has given addresses (RFC 8305 §3, with more patience: an
    /// address that is missed is a candidate less).
    private static let settling = TimeSpan.milliseconds(250)
    /// How many sessions wait at most.
    private static let limit = 8192

    private struct Lookup {
        var askers: [NameAsker]
        var addresses: [IPAddress] = []
        var missing: Int
        var settlesAt = Instant.distantFuture
    }

    private var resolver: NameResolver
    private var lookups: [String: Lookup] = [:]
    private var askerCount = 0

    init() throws(SystemError) { resolver = try NameResolver() }

    /// Readable while the resolver has something to do.
    var descriptor: Int32 { resolver.descriptor }

    /// When `process` must be called, if nothing else happens.
    func nextTimeout(at now: Instant) -> Instant {
        guard !lookups.isEmpty else { return .distantFuture }
        let settling = lookups.values.map(\.settlesAt).min() ?? .distantFuture
        return min(settling, resolver.nextTimeout(at: now) ?? .distantFuture)
    }

    /// Asks; `false` for what is no name, and if too many wait.
    func ask(_ name: String, _ asker: NameAsker) -> Bool {
        let questions = [DNSQuestion.Kind.a, .aaaa].compactMap { DNSQuestion(name, $0) }
        guard let key = questions.first?.name, askerCount < Self.limit else { return false }
        askerCount += 1
        guard lookups[key] == nil else {
            lookups[key]?.askers.append(asker)
            return true
        }
        lookups[key] = Lookup(askers: [asker], missing: questions.count)
        for question in questions { resolver.ask(question) }
        return true
    }

    /// Does what is due, and takes what is known by now.
    func process(at now: Instant) -> [NameAnswer] {
        resolver.process()
        while let (question, answer) = resolver.pollAnswer() { take(answer, of: question.name, at: now) }
        var answers: [NameAnswer] = []
        for (name, lookup) in lookups where lookup.missing == 0 || lookup.settlesAt <= now {
            lookups[name] = nil
            askerCount -= lookup.askers.count
            answers += lookup.askers.map { NameAnswer(asker: $0, addresses: lookup.addresses) }
        }
        return answers
    }

    private func take(_ answer: DNSAnswer, of name: String, at now: Instant) {
        guard var lookup = lookups[name], lookup.missing > 0 else { return }
        lookup.missing -= 1
        if case .records(let records) = answer {
            for case .address(let address) in records { lookup.addresses.append(address) }
        }
        if !lookup.addresses.isEmpty, lookup.settlesAt == .distantFuture { lookup.settlesAt = now + Self.settling }
        lookups[name] = lookup
    }
}
