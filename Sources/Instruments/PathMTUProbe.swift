import Bytes
import EventLoop
public import NetTypes
import STUN
import Transport

/// Finds out how long packets to a STUN server may be: Binding requests of many lengths, none of which may be fragmented.
///
/// What lengthens them is an attribute that no server knows and that each passes over (RFC 8489 §14). What the system has
/// learnt about the path does not count: routers that say nothing are what is looked for.
public struct PathMTUProbe: Sendable {
    /// What was found, in bytes of whole IP packets.
    public struct Report: Hashable, Sendable {
        /// The longest packet that was answered; `nil` if none was.
        public var longest: Int?
        /// The shortest packet above that was lost; `nil` if even the longest that is tried came through.
        public var shortestLost: Int?
    }

    /// The longest packet that is tried: Ethernet's.
    public static let limit = 1500
    /// How exact the report is.
    static let precision = 8
    /// How often a packet is sent before it counts as lost.
    private static let tries = 3

    /// The server.
    public var server: SocketAddress
    /// How long an answer is waited for, three times.
    public var patience = TimeSpan.milliseconds(400)

    /// Makes a probe of a server.
    public init(_ server: SocketAddress) { self.server = server.unmapped }

    /// Does it all; takes a few round trips, or some seconds where packets are lost.
    ///
    /// - Throws: A sentence, if there is no socket to be had.
    public func run() throws(InstrumentError) -> Report {
        var report = Report()
        var sizes = [576, 1200, 1280, 1400, 1472, 1492, Self.limit]
        var entropy = Entropy.system
        var lostSizes: [Int] = []
        while !sizes.isEmpty {
            let answered = try round(sizes, &entropy)
            lostSizes += sizes.filter { !answered.contains($0) }
            report.longest = ([report.longest] + answered).compactMap(\.self).max()
            guard let longest = report.longest else { break }
            // A shorter one that was lost is loss, not length.
            report.shortestLost = lostSizes.filter { $0 > longest }.min()
            guard let lost = report.shortestLost, lost - longest > Self.precision else { break }
            let step = max(4, (lost - longest) / 6 / 4 * 4)
            sizes = Array(stride(from: longest + step, to: lost, by: step))
        }
        return report
    }

    private func round(_ sizes: [Int], _ entropy: inout Entropy) throws(InstrumentError) -> Set<Int> {
        var options = UDPSocket.Options()
        options.pathMTUDiscovery = .probe
        var waiting: [TransactionID: (size: Int, bytes: [UInt8])] = [:]
        for size in sizes {
            let id = TransactionID.random(using: &entropy)
            waiting[id] = (size, Self.request(id, packet: size, server.family))
        }
        var answered: Set<Int> = []
        do throws(SocketError) {
            let socket = try UDPSocket(boundTo: SocketAddress(.unspecified(server.family), port: 0), options: options)
            var incoming = DatagramReceiveBatch(capacity: 16, payloadCapacity: 2048)
            var outgoing = DatagramSendBatch(capacity: 16)
            for _ in 0..<Self.tries where !waiting.isEmpty {
                for (_, bytes) in waiting.values {
                    _ = outgoing.enqueue(copying: bytes.span, on: DatagramRoute(socket.handle, to: server))
                    // One by one: an error of one is no other's.
                    outgoing.flush()
                }
                try Self.collect(socket, &incoming, until: MonotonicClock.now() + patience, &waiting, &answered)
            }
        } catch {
            throw InstrumentError("\(error)")
        }
        return answered
    }

    private static func collect(
        _ socket: borrowing UDPSocket,
        _ incoming: inout DatagramReceiveBatch,
        until deadline: Instant,
        _ waiting: inout [TransactionID: (size: Int, bytes: [UInt8])],
        _ answered: inout Set<Int>
    ) throws(SocketError) {
        do throws(SystemError) {
            let poller = try Poller()
            var events = PollEvents(capacity: 1)
            try poller.add(socket.descriptor, token: 0, interest: .read)
            while !waiting.isEmpty, MonotonicClock.now() < deadline {
                try poller.wait(until: deadline, into: &events)
                for index in incoming.receive(from: socket.handle) {
                    guard let id = answer(incoming.payload(of: index)) else { continue }
                    if let known = waiting.removeValue(forKey: id) { answered.insert(known.size) }
                }
                incoming.removeAll()
            }
        } catch {
            throw SocketError(.set("the poller"), at: nil, number: 0)
        }
    }

    /// The transaction that a response, of whatever kind, belongs to.
    private static func answer(_ bytes: Span<UInt8>) -> TransactionID? {
        guard let view = try? STUNMessageView(bytes), view.messageClass == .success || view.messageClass == .error
        else {
            return nil
        }
        return view.transactionID
    }

    /// A Binding request that makes a packet of so many bytes; a multiple of four, as STUN's messages are.
    static func request(_ id: TransactionID, packet: Int, _ family: AddressFamily) -> [UInt8] {
        let headers = family == .ipv4 ? 28 : 48
        // Message header and attribute header.
        let filling = [UInt8](repeating: 0, count: max(0, (packet - headers - 24) / 4 * 4))
        let unknown = AttributeType(rawValue: 0xFF0F)
        let message = STUNMessage(STUNMessageType(.binding, .request), id, attributes: [.init(unknown, filling)])
        return (try? message.encoded()) ?? []
    }
}
