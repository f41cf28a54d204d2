import CCares
public import EventLoop
public import NetTypes
public import Resolution

/// Asks name servers without waiting: c-ares behind one descriptor for the owner's poller.
///
/// The owner polls `descriptor` for reading, calls `process` when it is ready or `nextTimeout` has come, and after each
/// call takes answers until there are none. The hosts file counts for addresses.
@safe
public struct NameResolver: ~Copyable {
    /// How long one name server is waited for at first; doubled with each round.
    public static let timeout = TimeSpan.seconds(1)
    /// How often each name server is asked.
    public static let tries = 3

    // Owned from init to deinit; c-ares and the list of answers live in it.
    private let dns: UnsafeMutablePointer<floe_dns>
    private var asked: [UInt64: DNSQuestion] = [:]
    private var next: UInt64 = 0

    /// Makes a resolver that asks these name servers, or those of the system.
    ///
    /// - Throws: If there is no memory or descriptor left.
    public init(servers: [SocketAddress] = []) throws(SystemError) {
        var opened: UnsafeMutablePointer<floe_dns>?
        let list = servers.map(\.description).joined(separator: ",")
        let timeout = Int32(Self.timeout.milliseconds)
        // The text is copied before the call returns.
        let number =
            servers.isEmpty
            ? unsafe floe_dns_open(&opened, nil, timeout, Int32(Self.tries))
            : unsafe floe_dns_open(&opened, list, timeout, Int32(Self.tries))
        guard number == 0, let opened = unsafe opened else {
            throw SystemError("start the name resolver", number: number)
        }
        unsafe dns = unsafe opened
    }

    deinit { unsafe floe_dns_close(dns) }

    /// What to poll for reading.
    public var descriptor: Int32 { unsafe dns.pointee.poll }

    /// When `process` must be called, or `nil` if no question waits.
    public func nextTimeout(at now: Instant) -> Instant? {
        let span = unsafe floe_dns_timeout(dns)
        return span < 0 ? nil : now + TimeSpan(nanoseconds: UInt64(span))
    }

    /// The domains in which this machine looks for names: what it knows of where it is (RFC 8155 §4.1).
    public var localDomains: [String] {
        // Filled, with a zero at its end, when the call returns; copied before the room is gone.
        let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 2048) { room in
            unsafe floe_dns_domains(dns, room.baseAddress, room.count)
            return unsafe room.baseAddress.map { unsafe String(cString: $0) } ?? ""
        }
        return text.split(separator: " ").map(String.init).filter { DNSQuestion($0, .naptr) != nil }
    }

    /// How many questions wait for their answers.
    public var waitingCount: Int { asked.count }

    /// Asks; an answer follows, perhaps at once.
    public mutating func ask(_ question: DNSQuestion) {
        next += 1
        asked[next] = question
        // The name is copied before the call returns. Without memory no answer will come, and the caller's patience ends.
        _ = unsafe floe_dns_ask(dns, next, question.name, Int32(question.kind.rawValue))
    }

    /// Reads, sends again, gives up.
    public mutating func process() { unsafe floe_dns_process(dns) }

    /// Takes the oldest answer.
    public mutating func pollAnswer() -> (question: DNSQuestion, answer: DNSAnswer)? {
        while let result = unsafe floe_dns_take(dns) {
            // Ours until it is freed here; everything is copied out of it.
            defer { unsafe free(result) }
            guard let question = unsafe asked.removeValue(forKey: result.pointee.token) else { continue }
            return unsafe (question, Self.answer(result, question.kind))
        }
        return nil
    }

    private static func answer(_ result: UnsafeMutablePointer<floe_dns_result>, _ kind: DNSQuestion.Kind) -> DNSAnswer {
        switch unsafe result.pointee.status {
        case 0: break
        case ARES_ENODATA, ARES_ENOTFOUND: return .nothing
        case ARES_ETIMEOUT: return .failed(.timedOut)
        case ARES_ECONNREFUSED, ARES_EDESTRUCTION, ARES_ECANCELLED: return .failed(.unreachable)
        case ARES_EBADRESP, ARES_EBADNAME, ARES_EBADSTR: return .failed(.malformed)
        default: return .failed(.refused)
        }
        // A tuple of records that the count bounds.
        let list = unsafe withUnsafeBytes(of: &result.pointee.records) { bytes in
            let records = unsafe bytes.bindMemory(to: floe_dns_record.self)
            return unsafe records.prefix(Int(result.pointee.count)).compactMap { record($0, kind) }
        }
        return list.isEmpty ? .nothing : .records(list)
    }

    private static func record(_ record: floe_dns_record, _ kind: DNSQuestion.Kind) -> DNSRecord? {
        switch kind {
        case .a, .aaaa:
            let bytes = unsafe withUnsafeBytes(of: record.address) { unsafe Array($0.prefix(kind == .a ? 4 : 16)) }
            return IPAddress(bytes: bytes.span).map { .address($0) }
        case .srv:
            return .service(
                DNSService(
                    priority: record.first,
                    weight: record.second,
                    port: record.port,
                    target: text(record.name)
                )
            )
        case .naptr:
            return .pointer(
                DNSPointer(
                    order: record.first,
                    preference: record.second,
                    flags: text(record.flags),
                    service: text(record.service),
                    replacement: text(record.name)
                )
            )
        }
    }

    /// The text of a tuple of characters that ends with a zero.
    private static func text<Characters>(_ characters: Characters) -> String {
        unsafe withUnsafeBytes(of: characters) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
