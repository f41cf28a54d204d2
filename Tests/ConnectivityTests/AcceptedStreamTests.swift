import Bytes
import Connectivity
import Crypto
import Diagnostics
import ICE
import NetTypes
import STUN
import Testing

/// A session with a TCP listener, to which anybody may connect.
private final class Listening {
    static let listener = BaseID(rawValue: 2)
    var session: ICESession
    var now = Instant.zero + .seconds(1)
    var closed: [BaseID] = []
    private var serial: UInt64 = 0
    private var pacer = CheckPacer()

    init(_ change: (inout ICESessionConfiguration) -> Void = { _ in }) throws {
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlled))
        configuration.usesTCP = true
        configuration.usesPortMapping = false
        change(&configuration)
        let ip = try #require(IPAddress("198.51.100.1"))
        let peer = try ICECredentials(usernameFragment: "PEER", password: String(repeating: "p", count: 24))
        session = try ICESession(configuration, entropy: .seeded(1), at: .zero)
        let address = InterfaceAddress(ip, prefixLength: 24)
        session.updateInterfaces([NetworkInterface(index: 1, name: "eth0", addresses: [address])], at: now)
        session.gather(at: now)
        _ = session.setRemoteDescription(ICEDescription(credentials: peer), at: now)
        while let effect = session.pollEffect() {
            switch effect {
            case .bindUDP(let id, let local):
                session.bound(id, base: BaseID(rawValue: 1), local: SocketAddress(local.ip, port: 1000), at: now)
            case .listenTCP(let id, let local):
                session.bound(id, base: Self.listener, local: SocketAddress(local.ip, port: 1000), at: now)
            default: break
            }
        }
    }

    static func source(_ number: Int) -> SocketAddress {
        SocketAddress(IPAddress("203.0.113.7") ?? .loopback(.ipv4), port: UInt16(2000 + number))
    }

    /// A connection of a stranger or of the peer, by its number.
    @discardableResult
    func accept(_ number: Int, from source: SocketAddress? = nil) -> BaseID {
        let base = BaseID(rawValue: UInt32(100 + number))
        session.accepted(base, on: Self.listener, from: source ?? Self.source(number), at: now)
        settle()
        return base
    }

    /// What the driver does after each call.
    func settle() {
        var scratch: [UInt8] = []
        var isDone = false
        while !isDone {
            isDone = true
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: ICESession.maximumTransmitByteCount) { output in
                isDone = session.pollTransmit(at: now, pacer: &pacer, into: &output) == nil
            }
        }
        while let effect = session.pollEffect() {
            if case .close(let base) = effect { closed.append(base) }
        }
    }

    func run(for span: TimeSpan) {
        let end = now + span
        while let next = session.nextTimeout, next <= end {
            now = max(now, next)
            session.handleTimeout(at: now)
            settle()
        }
        now = end
    }

    /// A check as it comes over a connection; of the peer if `password` is ours.
    func check(on base: BaseID, password: String? = nil) {
        serial += 1
        let own = session.localDescription.credentials
        let key = IntegrityKey(Array((password ?? own.password).utf8).span)
        let id = TransactionID(high: serial, low: 1)
        let message = buildBytes(capacity: 300) { output in
            var builder = STUNMessageBuilder(.binding, .request, id, into: &output)
            builder.append(.username, "\(own.usernameFragment):PEER", into: &output)
            builder.append(.priority, UInt32(1_845_501_695), into: &output)
            builder.append(.iceControlling, UInt64(7), into: &output)
            _ = try? builder.finish(protectedBy: .sha1(key), fingerprint: true, into: &output)
        }
        let frame = buildBytes(capacity: message.count + 2) { output in
            StreamFrames.writeHeader(byteCount: message.count, into: &output)
            output.append(contentsOf: message.span)
        }
        session.receiveStream(frame.span, on: base, at: now)
        settle()
    }

    func dropped(_ reason: SessionDrop) -> UInt64 { session.dropCounts[reason] }
}

/// Connections that others open to our listeners (RFC 6544 §7.2; ice 125).
@Suite struct AcceptedStreamTests {
    @Test func `A connection without an authenticated check is closed in ten seconds, one with it stays`() throws {
        let listening = try Listening()
        let silent = listening.accept(1)
        let forging = listening.accept(2)
        let peer = listening.accept(3)
        listening.check(on: peer)
        listening.run(for: .milliseconds(9900))
        #expect(listening.closed.isEmpty)
        // Who knows the fragment and not the password gains nothing by asking again.
        listening.check(on: forging, password: String(repeating: "x", count: 24))
        listening.run(for: .milliseconds(200))
        #expect(listening.closed == [silent, forging])
        #expect(listening.dropped(.silentStream) == 2)
        listening.run(for: .seconds(20))
        #expect(listening.closed == [silent, forging])
        // What was closed is none of the session's any more.
        listening.check(on: silent)
        #expect(listening.dropped(.unknownBase) == 1)
    }

    @Test func `In a full table the oldest without a check gives way, and never one with it`() throws {
        let listening = try Listening { $0.limits.streams = 4 }
        let bases = (0..<4).map { listening.accept($0) }
        listening.check(on: bases[0])
        listening.check(on: bases[2])
        listening.accept(4)
        #expect(listening.closed == [bases[1]])
        listening.accept(5)
        listening.accept(6)
        #expect(listening.closed.count == 3 && !listening.closed.contains(bases[0]))
        #expect(!listening.closed.contains(bases[2]))
        #expect(listening.dropped(.displacedStream) == 3)
        // The peer comes last and has its place all the same.
        let peer = listening.accept(7)
        listening.check(on: peer)
        #expect(!listening.closed.contains(peer))
        let last = listening.accept(8)
        listening.check(on: last)
        #expect(!listening.closed.contains(last))
        // All four are the peer's now: there is no room for another.
        let count = listening.closed.count
        let late = listening.accept(9)
        #expect(Array(listening.closed[count...]) == [late])
        #expect(listening.dropped(.limitReached) == 1)
    }

    @Test func `One network displaces but its own connections`() throws {
        let listening = try Listening { $0.limits.streams = 4 }
        let peer = listening.accept(0, from: SocketAddress(IPAddress("198.51.100.1") ?? .loopback(.ipv4), port: 1000))
        for number in 1..<20 { listening.accept(number) }
        #expect(!listening.closed.contains(peer))
        #expect(listening.dropped(.displacedStream) == 16)
        listening.check(on: peer)
        for number in 20..<30 { listening.accept(number) }
        #expect(!listening.closed.contains(peer))
        // Of one against one the newcomer's network has more.
        let tied = try Listening { $0.limits.streams = 2 }
        let honest = tied.accept(0, from: SocketAddress(IPAddress("198.51.100.1") ?? .loopback(.ipv4), port: 1000))
        let stranger = tied.accept(1)
        tied.accept(2)
        #expect(tied.closed == [stranger] && !tied.closed.contains(honest))
    }

    @Test func `Strangers cannot take the places that the agent has for connections`() throws {
        let listening = try Listening { $0.ice.pairLimit = 2 }
        let bases = (0..<3).map { listening.accept($0) }
        #expect(listening.closed == [bases[0]])
        #expect(listening.dropped(.displacedStream) == 1 && listening.dropped(.limitReached) == 0)
        // The place of one that has ended can be had again.
        listening.session.closed(bases[1], at: listening.now)
        listening.accept(3)
        #expect(listening.closed == [bases[0]])
        listening.check(on: bases[2])
        listening.run(for: .seconds(11))
        #expect(!listening.closed.contains(bases[2]))
    }

    @Test func `A connection that the agent does not take is closed`() throws {
        let listening = try Listening()
        listening.session.close(at: listening.now)
        listening.settle()
        let base = listening.accept(1)
        #expect(listening.closed.contains(base))
        #expect(listening.dropped(.limitReached) == 1)
    }
}
