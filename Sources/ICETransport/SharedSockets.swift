import Bytes
import Connectivity
import Diagnostics
import ICE
public import NetTypes
import STUN
import Synchronization
import Transport

/// Why a datagram on a shared socket was for nobody.
public enum SharedDrop: String, DropReason {
    /// A check whose user name begins with a fragment that no connection has.
    case unknownUsernameFragment
    /// A response that was not asked for, or data over a path that no connection uses.
    case nobody
    /// A connection whose paths are as many as it may have.
    case tooManyPaths
    /// A check from an address that another connection uses.
    case pathOfAnother
}

/// Which connection a datagram is for, where many share a socket: by transaction, then fragment, then address.
///
/// The lock is held for a look-up or a change in a table; only connections that begin or end on other threads contend.
final class SharedAgents: Sendable {
    struct State: ~Copyable {
        var table: AgentTable
        var drops = DropCounters<SharedDrop>()
    }

    let state: Mutex<State>

    init(limit: Int) {
        var entropy = Entropy.system
        state = Mutex(State(table: AgentTable(limit: limit, entropy: &entropy)))
    }

    /// Takes a connection in; `nil` if there are as many as may be.
    func insert() -> AgentTag? { state.withLock { $0.table.insert() } }

    func remove(_ tag: AgentTag) { state.withLock { $0.table.remove(tag) } }

    /// `false` if another connection has the fragment.
    func add(_ fragment: String, _ tag: AgentTag) -> Bool {
        state.withLock { $0.table.add(usernameFragment: fragment, for: tag) }
    }

    func remove(_ fragment: String, _ tag: AgentTag) {
        state.withLock { $0.table.remove(usernameFragment: fragment, for: tag) }
    }

    /// The number of the connection that a datagram is for.
    func route(_ bytes: Span<UInt8>, on socket: BaseID, from source: SocketAddress) -> UInt32? {
        state.withLock { state in
            switch state.table.route(bytes, on: socket, from: source) {
            case .agent(let tag): return tag.index
            case .unknownUsernameFragment: state.drops.count(.unknownUsernameFragment)
            case .nobody: state.drops.count(.nobody)
            }
            return nil
        }
    }

    /// Has what comes from an address go to a connection, whose check or answer from there was believed.
    func bind(_ tag: AgentTag, on socket: BaseID, from source: SocketAddress, isAnswer: Bool) {
        state.withLock { state in
            switch state.table.bind(tag, base: socket, remote: source, isAnswer: isAnswer) {
            case .bound: break
            case .taken: state.drops.count(.pathOfAnother)
            case .full: state.drops.count(.tooManyPaths)
            }
        }
    }

    /// Whether a transaction is one of a connection's own agent, and not of a client of STUN servers beside it.
    func isChecked(_ id: TransactionID, by tag: AgentTag) -> Bool { state.withLock { $0.table.isOwn(id, of: tag) } }

    var drops: DropCounters<SharedDrop> { state.withLock { $0.drops } }
}

/// A UDP socket of many sessions.
final class SharedEnd {
    /// Questions to STUN servers that wait for their answers, at most.
    private static let questionLimit = 4096
    /// How long an answer may take: all retransmissions of RFC 8489 §6.2.1.
    private static let patience = TimeSpan.seconds(40)

    struct User {
        unowned let driven: Driven
        let base: BaseID
    }

    let socket: UDPSocket
    /// The socket's own number.
    let base: BaseID
    /// The sessions, by the numbers of their tags.
    var users: [UInt32: User] = [:]
    private var questions: [TransactionID: (user: UInt32, until: Instant)] = [:]

    init(_ socket: consuming UDPSocket, _ base: BaseID) {
        self.socket = socket
        self.base = base
    }

    /// Notes a question to a STUN server, whose answer names no agent.
    func noteQuestion(_ id: TransactionID, _ tag: AgentTag, at now: Instant) {
        guard let user = tag.index else { return }
        if questions.count >= Self.questionLimit { questions = questions.filter { $0.value.until > now } }
        guard questions.count < Self.questionLimit || questions[id] != nil else { return }
        questions[id] = (user, now + Self.patience)
    }

    /// Whose a datagram is, and whether it shows, if it is believed, that what comes from there is the same one's.
    func route(_ bytes: Span<UInt8>, from source: SocketAddress, _ agents: SharedAgents) -> (UInt32, mayBind: Bool)? {
        if !questions.isEmpty, bytes.count >= 20, bytes[0] == 1, let view = try? STUNMessageView(bytes),
            let asker = questions.removeValue(forKey: view.transactionID)?.user
        {
            return (asker, false)
        }
        return agents.route(bytes, on: base, from: source).map { ($0, !bytes.isEmpty && bytes[0] < 4) }
    }
}

/// One UDP socket for each address of this host, shared by all sessions of the loop.
extension LoopRunner {
    func bindShared(_ id: EffectID, _ local: SocketAddress, _ port: UInt16, _ agents: SharedAgents, _ driven: Driven) {
        guard let user = driven.tag.index else { return driven.session.failed(id, .exhausted, at: now) }
        let key = SocketAddress(local.ip, port: 0, scope: local.scope)
        do throws(SocketError) {
            guard let end = try sharedEnd(key, port) else { return driven.session.failed(id, .exhausted, at: now) }
            let base = newBase()
            end.users[user] = SharedEnd.User(driven: driven, base: base)
            driven.bases[base] = Endpoint(socket: .shared(end), handle: nil)
            driven.session.bound(id, base: base, local: end.socket.localAddress, at: now)
        } catch {
            driven.session.failed(id, Self.failure(error), at: now)
        }
    }

    /// The socket of an address, which is opened for the first session; `nil` if the loop has too many.
    private func sharedEnd(_ key: SocketAddress, _ port: UInt16) throws(SocketError) -> SharedEnd? {
        if let known = shared[key] { return known }
        var socketOptions = UDPSocket.Options()
        socketOptions.receiveBufferBytes = options.receiveBufferBytes
        let address = SocketAddress(key.ip, port: port, scope: key.scope)
        let end = SharedEnd(try UDPSocket(boundTo: address, options: socketOptions), newBase())
        guard register(.shared(end), end.socket.descriptor) != nil else { return nil }
        shared[key] = end
        return end
    }

    func receiveShared(_ end: SharedEnd) {
        guard let agents else { return }
        var touched: [UInt32] = []
        for _ in 0..<Self.readsPerTurn {
            let received = incoming.receive(from: end.socket.handle)
            for index in received where !incoming.isTruncated(index) {
                let source = incoming.source(of: index)
                let peer = SocketAddress(source.ip, port: source.port)
                guard let route = end.route(incoming.payload(of: index), from: peer, agents) else { continue }
                let (number, mayBind) = route
                guard let user = end.users[number] else { continue }
                let isBelieved = take(incoming.payload(of: index), from: source, user.base, user.driven)
                if isBelieved, mayBind {
                    // Of the messages of Binding only answers begin with 1.
                    let isAnswer = incoming.payload(of: index)[0] == 1
                    agents.bind(user.driven.tag, on: end.base, from: peer, isAnswer: isAnswer)
                }
                if !touched.contains(number) { touched.append(number) }
            }
            incoming.removeAll()
            guard received.count == incoming.capacity else { break }
        }
        for number in touched {
            if let user = end.users[number] { drain(user.driven) }
        }
    }

    /// Sends from a shared socket, and notes the questions whose answers do not name their session.
    func transmitShared(_ bytes: Span<UInt8>, _ end: SharedEnd, _ driven: Driven, _ destination: SocketAddress) {
        if bytes.count >= 20, bytes[0] == 0, bytes[1] == 1, let agents, let view = try? STUNMessageView(bytes),
            !agents.isChecked(view.transactionID, by: driven.tag)
        {
            end.noteQuestion(view.transactionID, driven.tag, at: now)
        }
        transmit(bytes, DatagramRoute(end.socket.handle, to: destination))
    }

    /// Has the session's present fragment lead to it; after a restart the last one does so too.
    func noteFragment(_ driven: Driven) {
        guard let agents, driven.tag.index != nil else { return }
        let fragment = driven.session.localDescription.credentials.usernameFragment
        guard driven.fragments.last != fragment, agents.add(fragment, driven.tag) else { return }
        driven.fragments.append(fragment)
        if driven.fragments.count > 2 { agents.remove(driven.fragments.removeFirst(), driven.tag) }
    }

    /// Closes shared sockets whose addresses this host does not have any more.
    func closeUnusedShared() {
        let present = Set(interfaces.flatMap(\.addresses).map(\.ip))
        for (key, end) in shared where end.users.isEmpty && !present.contains(key.ip) {
            shared[key] = nil
            for handle in sockets.handles {
                if case .shared(let other)? = sockets.read(handle, { $0 }), other === end { _ = sockets.remove(handle) }
            }
        }
    }
}
