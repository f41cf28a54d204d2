public import Bytes
public import NetTypes
import TURN

/// One bound channel as packets show it, for a driver that relays them where the engine does not see them.
public struct ChannelPath: Sendable, Hashable {
    /// The client's 5-tuple; always over UDP.
    public let client: ClientTuple
    /// The channel's number, 0x4000 to 0x4FFF.
    public let channel: UInt16
    /// The relayed address as it is on this host.
    public let relay: SocketAddress
    /// The peer.
    public let peer: SocketAddress
    /// Until when ChannelData may go to the peer.
    public let toPeerUntil: Instant
    /// Until when datagrams of the peer may go to the client as ChannelData.
    public let toClientUntil: Instant
}

extension TURNServerEngine {
    /// What of an allocation may be relayed without the engine: exactly what the engine itself would relay, or less.
    ///
    /// Not there are clients of other transports, changes of family, peers that are relayed addresses of this server,
    /// peers that the gate denies by now, and addresses that must be translated. Limits on bandwidth hold for what is there
    /// as well: `takeAhead(_:of:at:)`. To be asked again upon `channelPathsChanged` and
    /// `channelPathsExtended`. O(channels of the allocation).
    public func channelPaths(of handle: SlotHandle, at now: Instant) -> [ChannelPath] {
        guard let (client, channels) = allocations.read(handle, { ($0.client, $0.channels) }),
            allocations.read(handle, { $0.transport == .udp }) == true,
            client.transport == .udp, client.remote.scope == 0, clients[client] == handle,
            mobile[handle]?.isDetached != true,
            let open = allocations.read(handle, { $0.relays[client.remote.family].open }) ?? nil
        else { return [] }
        let relay = SocketAddress(configuration.relayAddresses[open.lease.relay].local, port: open.lease.port)
        return channels.compactMap { number in
            guard (0x4000...0x4FFF).contains(number), let channel = peers.channel(handle.index, number, at: now),
                !channel.isOwnRelay, channel.peer.family == relay.family, channel.destination == channel.peer,
                channel.peer.scope == 0, case .allowed = gate.judge(channel.peer.ip),
                !presentsRelays || gate.presented(channel.peer) == channel.peer
            else { return nil }
            let toPeer = min(channel.expires, open.expires)
            let permission = peers.permission(handle.index, channel.peer.ip, at: now)
            let toClient = permission.map { $0.isOwnRelay ? now : min($0.expires, toPeer) } ?? now
            return ChannelPath(
                client: client,
                channel: number,
                relay: relay,
                peer: channel.peer,
                toPeerUntil: toPeer,
                toClientUntil: toClient
            )
        }
    }

    /// Counts what was relayed for an allocation without the engine; the allocation may be gone.
    public mutating func countRelayed(_ traffic: RelayedTraffic, of handle: SlotHandle) {
        counters.traffic.add(traffic)
        _ = allocations.update(handle) { $0.traffic.add(traffic) }
    }

    /// Tells the driver to ask again; what it was told is still true if there is but more of it.
    mutating func tellChannelPaths(of handle: SlotHandle, isExtension: Bool = false) {
        guard configuration.tellsChannelPaths, allocations.read(handle, { $0.channels.isEmpty }) == false else {
            return
        }
        events.append(isExtension ? .channelPathsExtended(handle) : .channelPathsChanged(handle))
    }
}

extension RelayedTraffic {
    mutating func add(_ other: RelayedTraffic) {
        packetsToPeers &+= other.packetsToPeers
        bytesToPeers &+= other.bytesToPeers
        packetsToClient &+= other.packetsToClient
        bytesToClient &+= other.bytesToClient
    }
}
