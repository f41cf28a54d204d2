import Bytes
public import NetTypes
import STUN
import TURN

/// TCP between relayed addresses and peers: Connect, ConnectionAttempt and ConnectionBind (RFC 6062 §5).
extension TURNServerEngine {
    // RFC 6062 §5.2: at least 30 s to connect; 30 s to bind.
    private static let connectTime = TimeSpan.seconds(30)
    private static let bindTime = TimeSpan.seconds(30)

    // MARK: Connect

    mutating func connect(_ request: borrowing STUNMessageView, _ handle: SlotHandle, _ context: RequestContext) {
        let address: SocketAddress
        do {
            guard let peer = try request.xorPeerAddress() else {
                return fail(context.responder, .badRequest, Self.missingPeer)
            }
            guard peer.port != 0 else { return fail(context.responder, .badRequest, Self.portZero) }
            guard allocations.read(handle, { $0.transport }) == .tcp else {
                return fail(context.responder, .badRequest, "the relayed address is not TCP")
            }
            address = peer
        } catch {
            return fail(context.responder, .badRequest, error.reason)
        }
        let presented = gate.presented(address)
        guard !isConnected(handle, presented) else { return fail(context.responder, .connectionAlreadyExists) }
        guard let relay = allocations.read(handle, { $0.relays[address.family].open }) ?? nil else {
            return fail(context.responder, .peerAddressFamilyMismatch)
        }
        // The kernel would connect a relayed address with itself.
        guard let peer = admit(address), presented != shared.external(relay.lease),
            !peer.isOwnRelay || shared.isLiveRelay(presented, .tcp)
        else { return fail(context.responder, .forbidden) }
        guard hasRoomForConnection(handle) else {
            return fail(context.responder, .insufficientCapacity, "too many connections")
        }
        guard takeConnect(context) else {
            return fail(context.responder, .insufficientCapacity, "too many failed connections")
        }
        guard let connection = insert(presented, of: handle, .connecting(context.responder)) else {
            giveBackConnect(handle, context.client)
            return fail(context.responder, .insufficientCapacity, "too many connections")
        }
        connections.setDeadline(connection, context.now + Self.connectTime)
        let local = SocketAddress(shared.address(of: relay.lease).local, port: relay.lease.port)
        events.append(
            .connectPeer(
                PeerConnectRequest(
                    id: PeerConnectionID(connection),
                    local: local,
                    destination: gate.reachable(presented)
                )
            )
        )
    }

    /// Tells that a connection of `connectPeer` stands.
    ///
    /// If it is not wanted any more, a `closePeer` event has been sent before.
    public mutating func peerConnected(_ id: PeerConnectionID, at now: Instant) {
        guard let connection = connections[id.handle], case .connecting(let responder) = connection.state else {
            return
        }
        giveBackConnect(connection.allocation, responder.client)
        connections.setState(id.handle, .waiting)
        connections.setDeadline(id.handle, now + Self.bindTime)
        succeed(responder) { $0.append(.connectionID, connection.number, into: &$1) }
    }

    /// Tells that a connection of `connectPeer` could not be made; the client gets 447.
    public mutating func peerConnectFailed(_ id: PeerConnectionID, at now: Instant) {
        guard let connection = connections[id.handle], case .connecting(let responder) = connection.state else {
            return
        }
        forget(id.handle)
        fail(responder, .connectionTimeoutOrFailure)
    }

    // A user may have many addresses, and an address many users: both have a budget.

    private mutating func takeConnect(_ context: RequestContext) -> Bool {
        guard connects.take(context.client.remote.ip, at: context.now) else { return false }
        if shared.takeConnect(of: context.account.user, at: context.now) { return true }
        connects.giveBack(context.client.remote.ip)
        return false
    }

    private mutating func giveBackConnect(_ handle: SlotHandle, _ client: ClientTuple) {
        connects.giveBack(client.remote.ip)
        if let user = allocations.read(handle, { $0.account.user }) { shared.giveBackConnect(of: user) }
    }

    // MARK: Connections of peers

    /// Tells that a peer has connected to a relayed address; `nil` means that the driver must close the connection now.
    ///
    /// Otherwise the client learns of it, and `joinPeer` or `closePeer` follows.
    public mutating func peerAccepted(
        _ relay: RelayID,
        from source: SocketAddress,
        at now: Instant
    ) -> PeerConnectionID? {
        let handle = relay.allocation
        let client = allocations.read(handle) { allocation -> ClientTuple? in
            guard let open = allocation.relays[relay.family].open, now < open.expires else { return nil }
            return allocation.transport == .tcp ? allocation.client : nil
        }
        guard let client = client ?? nil else { return refuse(.unknownRelay) }
        let source = source.unmapped
        guard source.family == relay.family else { return refuse(.wrongFamily) }
        let peer = presentsRelays ? gate.presented(source) : source
        guard let permission = peers.permission(handle.index, peer.ip, at: now) else { return refuse(.noPermission) }
        if permission.isOwnRelay, !shared.isLiveRelay(peer, .tcp) { return refuse(.deadRelay) }
        guard hasRoomForConnection(handle), let connection = insert(peer, of: handle, .waiting),
            let number = connections[connection]?.number
        else { return refuse(.tooManyConnections) }
        let transaction = TransactionID.random(using: &weakEntropy)
        let written = outbox.append(to: client, room: 128) { output in
            var builder = STUNMessageBuilder(.connectionAttempt, .indication, transaction, into: &output)
            builder.append(.connectionID, number, into: &output)
            builder.append(.xorPeerAddress, xored: peer, into: &output)
            return (try? builder.finish(into: &output)) != nil
        }
        guard written else {
            forget(connection)
            return refuse(.outboxFull)
        }
        connections.setDeadline(connection, now + Self.bindTime)
        return PeerConnectionID(connection)
    }

    private mutating func refuse(_ reason: TURNServerDrop) -> PeerConnectionID? {
        counters.countDrop(reason)
        return nil
    }

    // MARK: ConnectionBind

    /// The shard that has the connection which a request names, if that is another one.
    func otherShard(for request: borrowing STUNMessageView, from client: ClientTuple) -> Int? {
        guard client.transport.isStream, allocation(of: client) == nil, let number = try? request.connectionID() else {
            return nil
        }
        let owner = PeerConnections.shard(of: number)
        return owner != shard && owner < shared.shardCount ? owner : nil
    }

    /// The allocation that has the connection which a ConnectionBind request names.
    ///
    /// Its account vouches for the client: temporary credentials may have expired since the allocation was made.
    func allocationOfConnection(in request: borrowing STUNMessageView) -> SlotHandle? {
        guard request.method == .connectionBind, let number = try? request.connectionID(),
            let handle = connections.handle(number)
        else { return nil }
        return connections[handle]?.allocation
    }

    mutating func bindConnection(_ request: borrowing STUNMessageView, _ context: RequestContext) {
        // A stream that has an allocation is a control connection: STUN goes on there.
        guard context.client.transport.isStream, allocation(of: context.client) == nil,
            let number = try? request.connectionID(), let handle = connections.handle(number),
            let connection = connections[handle], case .waiting = connection.state
        else { return fail(context.responder, .badRequest, "CONNECTION-ID waits for no such stream") }
        let isOwner = allocations.read(connection.allocation) { $0.account.admits(context.account) }
        guard isOwner == true else { return fail(context.responder, .wrongCredentials) }
        connections.setState(handle, .joined)
        connections.setDeadline(handle, nil)
        succeed(context.responder) { $0.append(.connectionID, number, into: &$1) }
        events.append(.joinPeer(PeerConnectionID(handle), context.client))
    }

    // MARK: Data and the end

    /// Counts bytes that were copied between a peer and a client; returns when the next may be read.
    public mutating func peerRelayed(
        _ id: PeerConnectionID,
        toPeer: Int,
        toClient: Int,
        at now: Instant
    ) -> Instant {
        guard let handle = connections[id.handle]?.allocation else { return now }
        counters.traffic.countStream(toPeer: toPeer, toClient: toClient)
        let pause = allocations.update(handle) { allocation in
            allocation.traffic.countStream(toPeer: toPeer, toClient: toClient)
            return allocation.bandwidth?.takeOnCredit(Double(toPeer + toClient), at: now) ?? .zero
        }
        return now + max(pause ?? .zero, spendOnCredit(toPeer + toClient, of: handle, at: now))
    }

    /// Tells that a connection with a peer is over, whoever has ended it.
    public mutating func peerClosed(_ id: PeerConnectionID, at now: Instant) {
        guard let connection = connections[id.handle] else { return }
        if case .connecting = connection.state { return peerConnectFailed(id, at: now) }
        forget(id.handle)
    }

    /// Ends a connection that was not made or not bound in time.
    mutating func giveUpConnection(_ handle: SlotHandle, at now: Instant) {
        peerClosed(PeerConnectionID(handle), at: now)
        events.append(.closePeer(PeerConnectionID(handle)))
    }

    /// Ends all connections of one relayed address (RFC 6062 §5.5).
    mutating func closeConnections(of handle: SlotHandle, _ family: AddressFamily) {
        for connection in allocations.read(handle, { $0.connections }) ?? [] {
            guard let ended = connections[connection], ended.peer.family == family else { continue }
            closeConnection(connection)
        }
    }

    /// Ends a connection; a client that waits for it gets 447.
    mutating func closeConnection(_ handle: SlotHandle) {
        if case .connecting(let responder)? = connections[handle]?.state {
            fail(responder, .connectionTimeoutOrFailure)
        }
        forget(handle)
        events.append(.closePeer(PeerConnectionID(handle)))
    }

    // MARK: Tables

    private mutating func insert(
        _ peer: SocketAddress,
        of handle: SlotHandle,
        _ state: PeerConnection.State
    ) -> SlotHandle? {
        guard
            let connection = connections.insert(peer, of: handle, state, shard: shard, using: &weakEntropy)
        else { return nil }
        _ = allocations.update(handle) { $0.connections.append(connection) }
        return connection
    }

    private mutating func forget(_ handle: SlotHandle) {
        guard let connection = connections.remove(handle) else { return }
        _ = allocations.update(connection.allocation) { $0.connections.removeAll { $0 == handle } }
    }

    private func isConnected(_ handle: SlotHandle, _ peer: SocketAddress) -> Bool {
        let held = allocations.read(handle) { $0.connections } ?? []
        return held.contains { connections[$0]?.peer == peer }
    }

    private func hasRoomForConnection(_ handle: SlotHandle) -> Bool {
        let held = allocations.read(handle) { $0.connections.count } ?? 0
        return held < configuration.limits.connectionsPerAllocation
    }
}
