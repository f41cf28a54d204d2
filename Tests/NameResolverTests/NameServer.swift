import Bytes
import EventLoop
import NetTypes
import Resolution
import Transport

@testable import NameResolver

/// A name server on the loopback, driven by the test that asks it: both wait on one poller.
final class NameServer {
    enum Reply {
        /// The data of records of the kind that was asked for.
        case records([[UInt8]])
        /// A response code: 3 for a name that does not exist.
        case code(UInt8)
        case silence
        case garbage([UInt8])
    }

    private let socket: UDPSocket
    private var incoming = DatagramReceiveBatch(capacity: 8, payloadCapacity: 1500)
    private var outgoing = DatagramSendBatch(capacity: 8)
    private let zone: (DNSQuestion) -> Reply
    private(set) var askedCount = 0

    init(_ zone: @escaping (DNSQuestion) -> Reply) throws {
        socket = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        self.zone = zone
    }

    var address: SocketAddress { socket.localAddress }

    /// Asks and waits for all answers, at most so long.
    func answers(to questions: [DNSQuestion], within span: TimeSpan = .seconds(5)) throws -> [DNSQuestion: DNSAnswer] {
        var resolver = try NameResolver(servers: [address])
        let poller = try Poller()
        var events = PollEvents(capacity: 4)
        try poller.add(resolver.descriptor, token: 0, interest: .read)
        try poller.add(socket.descriptor, token: 1, interest: .read)
        var found: [DNSQuestion: DNSAnswer] = [:]
        for question in questions { resolver.ask(question) }
        let deadline = MonotonicClock.now() + span
        while true {
            while let (question, answer) = resolver.pollAnswer() { found[question] = answer }
            let now = MonotonicClock.now()
            guard resolver.waitingCount > 0, now < deadline else { return found }
            try poller.wait(until: min(deadline, resolver.nextTimeout(at: now) ?? deadline), into: &events)
            serve()
            resolver.process()
        }
    }

    private func serve() {
        for index in incoming.receive(from: socket.handle) {
            askedCount += 1
            guard let answer = reply(to: incoming.payload(of: index).toArray()) else { continue }
            _ = outgoing.enqueue(copying: answer.span, on: DatagramRoute(socket.handle, to: incoming.source(of: index)))
        }
        outgoing.flush()
        incoming.removeAll()
    }

    /// Writes a response with one question and the records behind it (RFC 1035 §4.1).
    private func reply(to query: [UInt8]) -> [UInt8]? {
        var labels: [String] = []
        var offset = 12
        while offset < query.count, query[offset] > 0 {
            let count = Int(query[offset])
            labels.append(String(decoding: query[offset + 1...offset + count], as: UTF8.self))
            offset += count + 1
        }
        let number = UInt16(query[offset + 1]) << 8 | UInt16(query[offset + 2])
        guard let kind = DNSQuestion.Kind(rawValue: number),
            let question = DNSQuestion(labels.joined(separator: "."), kind)
        else { return nil }
        let section = query[12..<offset + 5]
        func message(_ code: UInt8, _ records: [[UInt8]]) -> [UInt8] {
            var bytes = [query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, UInt8(records.count), 0, 0, 0, 0] + section
            for record in records {
                bytes += [0xC0, 12, query[offset + 1], query[offset + 2], 0, 1, 0, 0, 0, 60]
                bytes += [UInt8(record.count >> 8), UInt8(record.count & 255)] + record
            }
            return bytes
        }
        switch zone(question) {
        case .records(let records): return message(0, records)
        case .code(let code): return message(code, [])
        case .silence: return nil
        case .garbage(let bytes): return Array(query.prefix(2)) + bytes
        }
    }
}

/// A name on the wire.
func wire(_ name: String) -> [UInt8] {
    name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
}

/// A character string of NAPTR.
func wireText(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
