import Bytes
import NetTypes
import STUN
import TURN

/// CreatePermission (RFC 8656 §10.2) and ChannelBind (RFC 8656 §12.2).
extension TURNServerEngine {
    static let permissionLifetime = TimeSpan.seconds(UInt64(TURNLifetime.permissionSeconds))
    static let channelLifetime = TimeSpan.seconds(UInt64(TURNLifetime.channelSeconds))

    mutating func createPermissions(
        _ request: borrowing STUNMessageView,
        _ handle: SlotHandle,
        _ context: RequestContext
    ) {
        var addresses: [SocketAddress] = []
        do {
            guard try request.forEachPeerAddress({ addresses.append($0) }) > 0 else {
                return fail(context.responder, .badRequest, Self.missingPeer)
            }
        } catch {
            return fail(context.responder, .badRequest, error.reason)
        }
        // All or nothing: whatever is wrong with one address, none is installed (turn 121, 124).
        for address in addresses where !hasFamily(address.family, handle) {
            return fail(context.responder, .peerAddressFamilyMismatch)
        }
        var peers: [Peer] = []
        for address in addresses {
            guard let peer = admit(address) else { return fail(context.responder, .forbidden) }
            if !peers.contains(where: { $0.address.ip == peer.address.ip }) { peers.append(peer) }
            guard peers.count <= configuration.limits.permissionsPerAllocation else {
                return fail(context.responder, .insufficientCapacity)
            }
        }
        guard hasRoom(for: peers, handle, at: context.now) else {
            return fail(context.responder, .insufficientCapacity)
        }
        guard takeNewPeers(peers, handle, at: context.now) else {
            return fail(context.responder, .insufficientCapacity, "too many new peers")
        }
        for peer in peers { permit(peer, handle, context) }
        tellChannelPaths(of: handle, isExtension: true)
        succeed(context.responder) { _, _ in }
    }

    static let missingPeer = "XOR-PEER-ADDRESS is missing"
    static let portZero = "XOR-PEER-ADDRESS has port 0"

    private func channelNumber(_ number: UInt16) -> ChannelNumber? {
        configuration.acceptsLegacyChannels ? ChannelNumber(legacyRawValue: number) : ChannelNumber(rawValue: number)
    }

    mutating func bindChannel(
        _ request: borrowing STUNMessageView,
        _ handle: SlotHandle,
        _ context: RequestContext
    ) {
        let channel: ChannelNumber
        let address: SocketAddress
        do {
            guard let number = try request.channelNumber() else {
                return fail(context.responder, .badRequest, "CHANNEL-NUMBER is missing")
            }
            guard let found = channelNumber(number) else {
                return fail(context.responder, .badRequest, "channels are 0x4000 to 0x4FFF (RFC 8656)")
            }
            guard let peer = try request.xorPeerAddress() else {
                return fail(context.responder, .badRequest, Self.missingPeer)
            }
            guard peer.port != 0 else { return fail(context.responder, .badRequest, Self.portZero) }
            (channel, address) = (found, peer)
        } catch {
            return fail(context.responder, .badRequest, error.reason)
        }
        // RFC 6062 knows no channels (turn 173).
        guard allocations.read(handle, { $0.transport }) == .udp else {
            return fail(context.responder, .badRequest, "no channels for TCP relays")
        }
        let number = channel.rawValue
        let presented = gate.presented(address)
        let now = context.now
        if let bound = peers.channel(handle.index, number, at: now), bound.peer != presented {
            return fail(context.responder, .badRequest, "the channel has another peer")
        }
        if let other = peers.channelNumber(handle.index, presented, at: now), other != number {
            return fail(context.responder, .badRequest, "the peer has another channel")
        }
        guard hasFamily(address.family, handle) else { return fail(context.responder, .peerAddressFamilyMismatch) }
        // A port of our own that is no relay is as closed as the rest of this host.
        guard let peer = admit(address), !peer.isOwnRelay || shared.isLiveRelay(presented) else {
            return fail(context.responder, .forbidden)
        }
        guard hasRoom(for: [peer], handle, at: now), hasRoom(forChannel: number, handle, at: now) else {
            return fail(context.responder, .insufficientCapacity)
        }
        guard takeNewPeers([peer], handle, at: now) else {
            return fail(context.responder, .insufficientCapacity, "too many new peers")
        }
        permit(peer, handle, context)
        bind(number, peer, handle, at: now)
        tellChannelPaths(of: handle, isExtension: true)
        succeed(context.responder) { _, _ in }
    }

    /// A peer's address that has passed the gate, in the form under which clients know it.
    struct Peer {
        let address: SocketAddress
        let isOwnRelay: Bool
    }

    func admit(_ address: SocketAddress) -> Peer? {
        switch gate.judge(address.ip) {
        case .allowed: Peer(address: gate.presented(address), isOwnRelay: false)
        case .ownRelay: Peer(address: gate.presented(address), isOwnRelay: true)
        case .denied: nil
        }
    }

    func hasFamily(_ family: AddressFamily, _ handle: SlotHandle) -> Bool {
        allocations.read(handle) { $0.relays[family].open != nil } ?? false
    }
}

// MARK: - Tables

extension TURNServerEngine {
    private mutating func permit(_ peer: Peer, _ handle: SlotHandle, _ context: RequestContext) {
        let expires = context.now + Self.permissionLifetime
        let ip = peer.address.ip
        guard peers.permit(handle.index, ip, isOwnRelay: peer.isOwnRelay, until: expires) else { return }
        _ = allocations.update(handle) { $0.permissions.append(ip) }
        log(.peerPermitted(user: context.account.user, client: context.client, peer: ip))
    }

    private mutating func bind(_ number: UInt16, _ peer: Peer, _ handle: SlotHandle, at now: Instant) {
        // What is left of expired bindings of the number or of the peer must not stand beside the new one.
        if let old = peers.number(handle.index, boundTo: peer.address), old != number { forget(old, handle) }
        if let old = peers.address(handle.index, ofChannel: number), old != peer.address { forget(number, handle) }
        let channel = PeerTables.Channel(
            peer: peer.address,
            destination: gate.reachable(peer.address),
            isOwnRelay: peer.isOwnRelay,
            expires: now + Self.channelLifetime
        )
        if peers.bind(handle.index, number, channel) {
            _ = allocations.update(handle) { $0.channels.append(number) }
        }
    }

    private mutating func forget(_ number: UInt16, _ handle: SlotHandle) {
        peers.removeChannel(handle.index, number)
        _ = allocations.update(handle) { $0.channels.removeAll { $0 == number } }
    }

    private mutating func hasRoom(for peers: [Peer], _ handle: SlotHandle, at now: Instant) -> Bool {
        let held = removeExpiredPermissions(of: handle, at: now)
        return held + newCount(of: peers, handle, at: now) <= configuration.limits.permissionsPerAllocation
    }

    private func newCount(of peers: [Peer], _ handle: SlotHandle, at now: Instant) -> Int {
        peers.count { self.peers.permission(handle.index, $0.address.ip, at: now) == nil }
    }

    /// Takes what these peers cost of the pace at which new ones may be added: all of it, or nothing.
    private mutating func takeNewPeers(_ peers: [Peer], _ handle: SlotHandle, at now: Instant) -> Bool {
        let count = newCount(of: peers, handle, at: now)
        guard count > 0 else { return true }
        return (allocations.update(handle) { $0.newPeers?.take(Double(count), at: now) } ?? nil) != false
    }

    private mutating func hasRoom(forChannel number: UInt16, _ handle: SlotHandle, at now: Instant) -> Bool {
        if peers.channel(handle.index, number, at: now) != nil { return true }
        return removeExpiredChannels(of: handle, at: now) < configuration.limits.channelsPerAllocation
    }

    /// Removes what has expired; returns how many permissions are left.
    private mutating func removeExpiredPermissions(of handle: SlotHandle, at now: Instant) -> Int {
        let held = allocations.read(handle) { $0.permissions } ?? []
        var left: [IPAddress] = []
        for ip in held {
            if peers.permission(handle.index, ip, at: now) != nil {
                left.append(ip)
            } else {
                peers.removePermission(handle.index, ip)
            }
        }
        _ = allocations.update(handle) { $0.permissions = left }
        return left.count
    }

    /// Removes what has expired; returns how many channels are left.
    private mutating func removeExpiredChannels(of handle: SlotHandle, at now: Instant) -> Int {
        let held = allocations.read(handle) { $0.channels } ?? []
        var left: [UInt16] = []
        for number in held {
            if peers.channel(handle.index, number, at: now) != nil {
                left.append(number)
            } else {
                peers.removeChannel(handle.index, number)
            }
        }
        // With none left, nothing would be told any more. What has expired was never told to last longer.
        if left.count < held.count { tellChannelPaths(of: handle, isExtension: true) }
        _ = allocations.update(handle) { $0.channels = left }
        return left.count
    }

    /// Removes all permissions and channels of one relayed address.
    mutating func removePeers(of handle: SlotHandle, _ family: AddressFamily) {
        guard let (permissions, channels) = allocations.read(handle, { ($0.permissions, $0.channels) }) else { return }
        for ip in permissions where ip.family == family { peers.removePermission(handle.index, ip) }
        tellChannelPaths(of: handle)
        let gone = channels.filter { peers.address(handle.index, ofChannel: $0)?.family == family }
        for number in gone { peers.removeChannel(handle.index, number) }
        _ = allocations.update(handle) { allocation in
            allocation.permissions.removeAll { $0.family == family }
            allocation.channels.removeAll { gone.contains($0) }
        }
    }
}
