import Bytes
public import NetTypes
public import STUN

/// Finds the agent that a datagram is for, when many share a socket: by transaction, then fragment, then address.
///
/// Every look is O(1) and allocates nothing. What names no agent is told, so that a driver may start a session for it.
public struct AgentTable: ~Copyable {
    /// Whom a datagram is for.
    public enum Route: Hashable, Sendable {
        /// That agent.
        case agent(AgentTag)
        /// A Binding request whose user name begins with a fragment that nobody has.
        case unknownUsernameFragment
        /// Nobody: a response that was not asked for, or data of a path that is not bound.
        case nobody
    }

    /// What has become of a path that an agent was to have.
    public enum Binding: Hashable, Sendable {
        /// It is that agent's.
        case bound
        /// It stays another agent's.
        case taken
        /// The agent has as many as it may.
        case full
    }

    private struct Entry {
        var tag: AgentTag?
        var fragments: [UInt64] = []
        var paths: [PathKey] = []
    }

    private struct PathKey: FlatKey {
        let base: BaseID
        let remote: SocketAddress

        init(_ base: BaseID, _ remote: SocketAddress) {
            self.base = base
            // As the agent does: the base is bound to its interface, so that a scope says nothing new.
            self.remote = SocketAddress(remote.ip.unmapped, port: remote.port)
        }

        func flatHash(seed: UInt64) -> UInt64 { remote.flatHash(seed: seed ^ UInt64(base.rawValue)) }
    }

    /// How many agents there may be.
    public let limit: Int
    /// How many there are.
    public private(set) var count = 0
    private let secret: UInt64
    private let seed: UInt64
    private var entries: [Entry] = []
    private var free: [UInt32] = []
    private var fragments: FlatTable<UInt64, UInt32>
    private var paths: FlatTable<PathKey, UInt32>

    /// The most paths that one agent may bind.
    public static let pathLimit = 16

    /// Makes an empty table; its secrets come from `entropy`.
    public init(limit: Int, entropy: inout Entropy) {
        self.limit = limit
        secret = entropy.next()
        seed = entropy.next()
        fragments = FlatTable(seed: entropy.next())
        paths = FlatTable(seed: entropy.next())
    }

    /// Takes an agent in; `nil` if there is no room.
    public mutating func insert() -> AgentTag? {
        guard count < limit else { return nil }
        count += 1
        let index = free.popLast() ?? UInt32(entries.count)
        if Int(index) == entries.count { entries.append(Entry()) }
        let tag = AgentTag(index: index, secret: secret)
        entries[Int(index)].tag = tag
        return tag
    }

    /// Gives an agent a fragment; after a restart it has two.
    ///
    /// Returns `false` if another agent has it: draw another.
    public mutating func add(usernameFragment: String, for tag: AgentTag) -> Bool {
        guard let index = place(tag) else { return false }
        let key = Self.key(usernameFragment, seed)
        if let owner = fragments[key] { return owner == UInt32(index) }
        fragments.insert(UInt32(index), for: key)
        entries[index].fragments.append(key)
        return true
    }

    /// Takes a fragment away: its generation is over.
    public mutating func remove(usernameFragment: String, for tag: AgentTag) {
        guard let index = place(tag) else { return }
        let key = Self.key(usernameFragment, seed)
        guard fragments[key] == UInt32(index) else { return }
        fragments.remove(key)
        entries[index].fragments.removeAll { $0 == key }
    }

    /// Sends what comes from an address over a base to an agent: after a request or an answer was believed.
    ///
    /// Only an answer takes over what another agent has: the source of a request may be forged by the agent's own peer.
    public mutating func bind(_ tag: AgentTag, base: BaseID, remote: SocketAddress, isAnswer: Bool) -> Binding {
        guard let index = place(tag) else { return .taken }
        let key = PathKey(base, remote)
        if let owner = paths[key] {
            if owner == UInt32(index) { return .bound }
            guard isAnswer else { return .taken }
        }
        guard entries[index].paths.count < Self.pathLimit else { return .full }
        if let old = paths.insert(UInt32(index), for: key) { entries[Int(old)].paths.removeAll { $0 == key } }
        entries[index].paths.append(key)
        return .bound
    }

    /// Forgets an agent with all its fragments and paths.
    public mutating func remove(_ tag: AgentTag) {
        guard let index = place(tag) else { return }
        for key in entries[index].fragments { fragments.remove(key) }
        for key in entries[index].paths { paths.remove(key) }
        entries[index] = Entry()
        free.append(UInt32(index))
        count -= 1
    }

    /// Finds out whom a datagram is for; says nothing about whether it is genuine.
    public func route(_ bytes: Span<UInt8>, on base: BaseID, from source: SocketAddress) -> Route {
        guard !bytes.isEmpty, bytes[0] < 4, let view = try? STUNMessageView(bytes), view.method == .binding else {
            return byPath(base, source)
        }
        switch view.messageClass {
        case .success, .error:
            let index = Int(AgentTag.index(of: view.transactionID, secret: secret))
            guard index < entries.count, let tag = entries[index].tag else { return .nobody }
            return .agent(tag)
        case .request:
            guard let username = try? view.username() else { return byPath(base, source) }
            var end = 0
            while end < username.count, username[end] != UInt8(ascii: ":") { end += 1 }
            guard let index = fragments[Self.key(username.extracting(..<end), seed)],
                let tag = entries[Int(index)].tag
            else { return .unknownUsernameFragment }
            return .agent(tag)
        case .indication: return byPath(base, source)
        }
    }

    /// Finds out who has sent what an ICMP error quotes, of which the first 20 bytes suffice: a check by its transaction,
    /// else the agent whose path it is.
    ///
    /// The quote may be shorter, or forged: whoever knows no transaction of ours names an agent by chance alone. It may be
    /// late, and the number another agent's by now: `ICEAgent.isAwaiting` tells.
    public func sender(of quoted: Span<UInt8>, on base: BaseID, to destination: SocketAddress) -> AgentTag? {
        if let id = TransactionID(bindingRequest: quoted) {
            let index = Int(AgentTag.index(of: id, secret: secret))
            if index < entries.count, let tag = entries[index].tag { return tag }
        }
        guard let index = paths[PathKey(base, destination)] else { return nil }
        return entries[Int(index)].tag
    }

    /// Whether a transaction is one of this agent's own.
    public func isOwn(_ id: TransactionID, of tag: AgentTag) -> Bool {
        tag.index == AgentTag.index(of: id, secret: secret)
    }

    private func byPath(_ base: BaseID, _ source: SocketAddress) -> Route {
        guard let index = paths[PathKey(base, source)], let tag = entries[Int(index)].tag else {
            return .nobody
        }
        return .agent(tag)
    }

    private func place(_ tag: AgentTag) -> Int? {
        guard let index = tag.index, Int(index) < entries.count, entries[Int(index)].tag == tag else { return nil }
        return Int(index)
    }

    /// A fragment as a number under a secret seed; two fragments with one number are refused by `add`.
    private static func key(_ bytes: Span<UInt8>, _ seed: UInt64) -> UInt64 {
        var value = seed ^ UInt64(bytes.count)
        for index in bytes.indices { value = (value ^ UInt64(bytes[index])).flatHash(seed: seed) }
        return value
    }

    private static func key(_ text: String, _ seed: UInt64) -> UInt64 { key(Array(text.utf8).span, seed) }
}
