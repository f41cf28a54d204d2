import Bytes
import Diagnostics
import ICE
public import NetTypes
import STUN
import Synchronization

/// Why a datagram on a shared socket, a connection to a shared listener or an ICMP error was for nobody.
public enum SharedDrop: String, DropReason {
    /// A check whose user name begins with a fragment that no connection has.
    case unknownUsernameFragment
    /// A response that was not asked for, or data over a path that no connection uses.
    case nobody
    /// A connection whose paths are as many as it may have.
    case tooManyPaths
    /// A check from an address that another connection uses.
    case pathOfAnother
    /// A TCP connection that does not begin with a framed Binding request.
    case noCheckFirst
    /// A TCP connection that has not said in time whom it is for.
    case silentStream
    /// A TCP connection that was closed for a newer one before it had said whom it is for; its prefix had most of them.
    case displacedStream
    /// A TCP connection whose peer has gone before it had said whom it is for.
    case goneStream
    /// A TCP connection for an agent that has no TCP candidate at that address.
    case noStreamCandidate
    /// An ICMP error about a datagram of which nobody knows who has sent it.
    case unknownSender
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

    /// The number of the connection that has sent what an ICMP error quotes.
    func sender(of quoted: Span<UInt8>, on socket: BaseID, to destination: SocketAddress) -> UInt32? {
        state.withLock { $0.table.sender(of: quoted, on: socket, to: destination)?.index }
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

    func count(_ reason: SharedDrop) { state.withLock { $0.drops.count(reason) } }

    var drops: DropCounters<SharedDrop> { state.withLock { $0.drops } }
}
