import Bytes
import Connectivity
import EventLoop
import ICE
import NetTypes
import STUN
import Testing
import Transport

@testable import ICETransport

/// Sockets that many agents share, without a loop that drives them.
@Suite struct SharedSocketTests {
    private let agents = SharedAgents(limit: 4)
    private let here = SocketAddress(.loopback(.ipv4), port: 0)
    private let peer = SocketAddress(.loopback(.ipv4), port: 4321)

    private func session() throws -> Driven {
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesLoopback = true
        configuration.usesPortMapping = false
        let tag = try #require(agents.insert())
        return try Driven(configuration, ConnectionCore(ICEConnectionLimits()), tag: tag, at: .zero)
    }

    /// Has a session use a socket, and returns the beginning of its first check, as ICMP errors quote it.
    private func firstCheck(_ driven: Driven, on end: SharedEnd) throws -> [UInt8] {
        let base = BaseID(rawValue: 9)
        let now = Instant.zero + .seconds(1)
        let address = InterfaceAddress(.loopback(.ipv4), prefixLength: 8)
        let interface = Connectivity.NetworkInterface(index: 1, name: "lo", kind: .loopback, addresses: [address])
        driven.session.updateInterfaces([interface], at: now)
        driven.session.gather(at: now)
        while let effect = driven.session.pollEffect() {
            guard case .bindUDP(let id, let local) = effect else { continue }
            driven.session.bound(id, base: base, local: SocketAddress(local.ip, port: 1000), at: now)
        }
        let credentials = try ICECredentials(usernameFragment: "PEER", password: String(repeating: "p", count: 24))
        _ = driven.session.setRemoteDescription(ICEDescription(credentials: credentials), at: now)
        let candidate = Candidate(
            foundation: "1",
            priority: 100,
            address: .ip(peer.ip),
            port: peer.port,
            type: .host
        )
        driven.session.addRemoteCandidate(candidate, at: now)
        let number = try #require(driven.tag.index)
        end.users[number] = SharedUser(driven: driven, base: base)
        var pacer = CheckPacer()
        let bytes = buildBytes(capacity: ICESession.maximumTransmitByteCount) { output in
            _ = driven.session.pollTransmit(at: now, pacer: &pacer, into: &output)
        }
        try #require(bytes.count > 20)
        return Array(bytes.prefix(20))
    }

    private func sender(of quoted: [UInt8], _ end: SharedEnd) -> Driven? {
        end.sender(of: quoted.span, to: peer, agents)?.driven
    }

    @Test func `A late ICMP error about what a dead agent sent is not its successor's (ice 49)`() throws {
        let end = SharedEnd(try UDPSocket(boundTo: here), BaseID(rawValue: 1))
        let dead = try session()
        let number = try #require(dead.tag.index)
        let quoted = try firstCheck(dead, on: end)
        #expect(sender(of: quoted, end) === dead)
        end.forget(number)
        agents.remove(dead.tag)
        #expect(sender(of: quoted, end) == nil)
        let successor = try session()
        #expect(successor.tag.index == number)
        let own = try firstCheck(successor, on: end)
        #expect(sender(of: own, end) === successor)
        #expect(sender(of: quoted, end) == nil)
        // Data name nobody: what is said of a path is its present user's.
        agents.bind(successor.tag, on: end.base, from: peer, isAnswer: true)
        #expect(sender(of: [200, 1], end) === successor)
        #expect(sender(of: quoted, end) == nil)
    }

    @Test func `An agent's questions to servers are forgotten with it`() throws {
        let end = SharedEnd(try UDPSocket(boundTo: here), BaseID(rawValue: 1))
        let dead = try session()
        let other = try session()
        for driven in [dead, other] {
            let number = try #require(driven.tag.index)
            end.users[number] = SharedUser(driven: driven, base: BaseID(rawValue: 9))
        }
        func question(_ id: TransactionID) -> [UInt8] {
            buildBytes(capacity: 20) { _ = STUNMessageBuilder(.binding, .request, id, into: &$0) }
        }
        let ids = [TransactionID(high: 5, low: 6), TransactionID(high: 7, low: 8)]
        end.noteQuestion(ids[0], dead.tag, at: .zero)
        end.noteQuestion(ids[1], other.tag, at: .zero)
        #expect(sender(of: question(ids[0]), end) === dead)
        end.forget(try #require(dead.tag.index))
        agents.remove(dead.tag)
        let successor = try session()
        #expect(successor.tag.index == dead.tag.index)
        end.users[try #require(successor.tag.index)] = SharedUser(driven: successor, base: BaseID(rawValue: 9))
        #expect(sender(of: question(ids[0]), end) == nil)
        #expect(sender(of: question(ids[1]), end) === other)
    }

    @Test func `A session has an address once: a second binding of it is refused, and the first stays`() throws {
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        options.sharedPort = 0
        let mailbox = LoopMailbox(try Mailbox(limit: 4))
        let runner = try LoopRunner(options, mailbox, ConnectionCount(), agents)
        let (one, other) = (try session(), try session())
        let number = try #require(one.tag.index)
        for driven in [one, other, one] {
            runner.bindShared(EffectID(rawValue: 1), here, 0, agents, driven)
            runner.listenShared(EffectID(rawValue: 2), here, 0, driven)
        }
        let socket = try #require(runner.shared[here])
        let listener = try #require(runner.sharedListeners[here])
        for users in [socket.users, listener.users] {
            let base = try #require(users[number]?.base)
            // The first one, which the session knows.
            #expect(base.rawValue <= 4)
            #expect(one.bases[base] != nil && users.count == 2)
        }
        #expect(one.bases.count == 2 && other.bases.count == 2)
        // What was closed can be had again.
        for endpoint in one.bases.values { runner.forget(endpoint, one) }
        one.bases = [:]
        #expect(socket.users.count == 1 && listener.users.count == 1)
        runner.bindShared(EffectID(rawValue: 3), here, 0, agents, one)
        runner.listenShared(EffectID(rawValue: 4), here, 0, one)
        #expect(one.bases.count == 2 && socket.users.count == 2 && listener.users.count == 2)
    }
}
