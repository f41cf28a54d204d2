import Bytes
import Connectivity
import ICE
import NetTypes
import STUN
import Transport

/// A session that uses a shared socket or listener, and what it calls it.
struct SharedUser {
    unowned let driven: Driven
    let base: BaseID
}

/// A UDP socket of many sessions.
final class SharedEnd {
    /// Questions to STUN servers that wait for their answers, at most.
    private static let questionLimit = 4096
    /// How long an answer may take: all retransmissions of RFC 8489 §6.2.1.
    private static let patience = TimeSpan.seconds(40)

    let socket: UDPSocket
    /// The socket's own number.
    let base: BaseID
    /// Its place in the loop's pool.
    var handle: SlotHandle?
    /// The sessions, by the numbers of their tags.
    var users: [UInt32: SharedUser] = [:]
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

    /// Who has sent what an ICMP error quotes, as far as it can be told: its transaction says it, or else its address.
    ///
    /// Numbers are used again, so that the error may be about what somebody sent who is no more: a request is taken for a
    /// session's only while that waits for the answer.
    func sender(of quoted: Span<UInt8>, to destination: SocketAddress, _ agents: SharedAgents) -> SharedUser? {
        let id = TransactionID(bindingRequest: quoted)
        if let id, let asker = questions[id]?.user { return users[asker] }
        guard let number = agents.sender(of: quoted, on: base, to: destination), let user = users[number] else {
            return nil
        }
        if let id, !user.driven.session.isAwaiting(id) { return nil }
        return user
    }

    /// Forgets a session with its questions: its number will be another's.
    func forget(_ user: UInt32) {
        users[user] = nil
        questions = questions.filter { $0.value.user != user }
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
            // Two sockets of one session on one port could not be told apart.
            guard let end = try sharedEnd(key, port), end.users[user] == nil else {
                return driven.session.failed(id, .exhausted, at: now)
            }
            let base = newBase()
            end.users[user] = SharedUser(driven: driven, base: base)
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
        socketOptions.reportsErrors = true
        socketOptions.receiveBufferBytes = options.receiveBufferBytes
        let address = SocketAddress(key.ip, port: port, scope: key.scope)
        let end = SharedEnd(try UDPSocket(boundTo: address, options: socketOptions), newBase())
        end.handle = register(.shared(end), end.socket.descriptor)
        guard end.handle != nil else { return nil }
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
        transmit(bytes, DatagramRoute(end.socket.handle, to: destination), driven)
    }

    /// Has the session's present fragment lead to it; after a restart the last one does so too.
    func noteFragment(_ driven: Driven) {
        guard let agents, driven.tag.index != nil else { return }
        let fragment = driven.session.localDescription.credentials.usernameFragment
        guard driven.fragments.last != fragment, agents.add(fragment, driven.tag) else { return }
        driven.fragments.append(fragment)
        if driven.fragments.count > 2 { agents.remove(driven.fragments.removeFirst(), driven.tag) }
    }

    /// Closes shared sockets and listeners whose addresses this host does not have any more.
    func closeUnusedShared() {
        let present = Set(interfaces.flatMap(\.addresses).map(\.ip))
        for (key, end) in shared where end.users.isEmpty && !present.contains(key.ip) {
            shared[key] = nil
            if let handle = end.handle { _ = sockets.remove(handle) }
        }
        for (key, end) in sharedListeners where end.users.isEmpty && !present.contains(key.ip) {
            sharedListeners[key] = nil
            if let handle = end.handle { _ = sockets.remove(handle) }
        }
    }
}
