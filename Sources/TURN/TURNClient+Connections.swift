import Bytes
public import NetTypes
import STUN

extension AttributeSet {
    /// What a client of RFC 8656 and RFC 6062 understands.
    static let turnConnections = AttributeSet.turn.union([.connectionID])
}

/// Connections with peers, where the allocation is one of TCP (RFC 6062 §4).
extension TURNClient {
    /// How long a peer is left alone after the server could not connect to it (RFC 6062 §4.3).
    public static var connectPause: TimeSpan { .seconds(10) }

    /// Has the server connect to a peer; a `.connected` or `.connectFailed` event follows.
    ///
    /// - Returns: `false`, and asks nothing, without a TCP allocation, while a request for this peer is on its way, within
    ///   `connectPause` of its failure, or if more peers are wanted than are kept.
    public mutating func connect(to peer: SocketAddress, at now: Instant) -> Bool {
        guard case .allocated = phase, now < expires, configuration.relayed == .tcp, peer.port != 0 else {
            return false
        }
        let peer = SocketAddress(peer.ip, port: peer.port)
        connects = connects.filter { now < $0.value }
        guard connects[peer] == nil, connects.count < configuration.limits.connects else { return false }
        connects[peer] = .distantFuture
        submit(.connect(peer), at: now)
        return true
    }

    /// An engine for a new connection to the same server that takes over a peer's (RFC 6062 §4.3, §4.4).
    ///
    /// It must leave from another local port, to the same address as this client's (turn 175); `entropy` must be `.system`
    /// except in tests.
    public func dataConnection(_ id: ConnectionID, entropy: Entropy = .system) -> TURNDataConnection {
        TURNDataConnection(id, configuration, session, entropy: entropy)
    }

    mutating func connected(_ peer: SocketAddress, _ response: borrowing STUNMessageView, at now: Instant) {
        connects[peer] = nil
        guard let number = (try? response.connectionID()) ?? nil else {
            return tell(.connectFailed(peer, .transaction(.malformedResponse)))
        }
        tell(.connected(peer, ConnectionID(rawValue: number)))
    }

    mutating func connectFailed(_ peer: SocketAddress, _ failure: TURNClientFailure, at now: Instant) {
        connects[peer] = failure == .refused(.connectionTimeoutOrFailure) ? now + Self.connectPause : nil
        tell(.connectFailed(peer, failure))
    }

    mutating func receiveConnectionAttempt(
        _ message: borrowing STUNMessageView,
        at now: Instant
    ) -> TURNClientDisposition {
        guard case .allocated = phase, configuration.relayed == .tcp else { return ignore(.noAllocation) }
        guard message.unknownRequiredAttributes(known: .turnConnections).isEmpty,
            let peer = (try? message.xorPeerAddress()) ?? nil, let number = (try? message.connectionID()) ?? nil
        else { return ignore(.malformedIndication) }
        guard let permission = peers.permissions[peer.ip], permission.isRequested || now < permission.expires else {
            return ignore(.noPermission)
        }
        tell(.connectionAttempt(peer, ConnectionID(rawValue: number)))
        return .accepted
    }
}
