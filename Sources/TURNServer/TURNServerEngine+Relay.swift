import Bytes
public import NetTypes
import STUN
import TURN

/// The relay path: no allocation, no lock, no reference count.
extension TURNServerEngine {
    /// The largest payload of a UDP datagram over IPv4; over IPv6 it is 20 bytes more.
    static let maximumUDPPayload = 65_507

    mutating func receiveChannelData(
        _ message: Span<UInt8>,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        let length = Int(message.bigEndianUInt16(at: 2))
        // Padding may follow, over UDP as well (RFC 8656 §12.5).
        guard message.count >= 4 &+ length else { return ignore(.truncatedChannelData) }
        guard let handle = clients[client] else {
            switch claim(strayOf: client, at: now) {
            case .moved: return receiveChannelData(message, from: client, at: now)
            case .otherShard(let shard): return .handOver(shard: shard)
            case .stranger: return ignore(.noAllocation)
            }
        }
        let number = message.bigEndianUInt16(at: 0)
        guard let channel = peers.channel(handle.index, number, at: now) else { return ignore(.unboundChannel) }
        if channel.isOwnRelay, !shared.isLiveRelay(channel.peer) { return ignore(.deadRelay) }
        return relay(4..<4 &+ length, of: handle, to: channel.destination, dontFragment: false, at: now)
    }

    /// Hands a payload to the driver for the relay socket of the destination's family.
    mutating func relay(
        _ payload: Range<Int>,
        of handle: SlotHandle,
        to destination: SocketAddress,
        dontFragment: Bool,
        at now: Instant
    ) -> ClientDisposition {
        let limit = Self.maximumUDPPayload &+ (destination.family == .ipv6 ? 20 : 0)
        guard payload.count <= limit else { return ignore(.payloadTooLarge) }
        let outcome = allocations.update(handle) { allocation -> RelayOutcome in
            guard case .open(let relay) = allocation.relays[destination.family], now < relay.expires else {
                return .drop(.wrongFamily)
            }
            guard allocation.transport == .udp else { return .drop(.wrongTransport) }
            guard allocation.spend(payload.count, at: now) else { return .drop(.bandwidthLimit) }
            return .token(relay.token)
        }
        switch outcome {
        case .token(let token):
            if let limit = exceedsBandwidth(payload.count, of: handle, at: now) { return ignore(limit) }
            _ = allocations.update(handle) { $0.traffic.countToPeer(payload.count) }
            counters.traffic.countToPeer(payload.count)
            return .relay(
                RelayTransmit(token: token, destination: destination, payload: payload, dontFragment: dontFragment)
            )
        case .drop(let reason): return ignore(reason)
        case nil: return ignore(.noAllocation)
        }
    }

    enum RelayOutcome {
        case token(UInt64)
        case drop(TURNServerDrop)
    }

    /// Takes a datagram that a relay socket has received, and frames it for the client where it lies.
    ///
    /// `payload` is where the datagram stands in `packet`; the 64 bytes before it and the 4 bytes behind it are written
    /// over. `source` is the peer, in IPv4-mapped form or not. What comes back as `.deliver` is to be sent at once.
    public mutating func receiveFromPeer(
        _ packet: inout MutableSpan<UInt8>,
        payload: Range<Int>,
        relay: RelayID,
        source: SocketAddress,
        at now: Instant
    ) -> PeerDisposition {
        let handle = relay.allocation
        guard allocations.contains(handle) else { return drop(.unknownRelay) }
        let source = source.unmapped
        guard source.family == relay.family else { return drop(.wrongFamily) }
        let peer = presentsRelays ? gate.presented(source) : source
        guard let permission = peers.permission(handle.index, peer.ip, at: now) else { return drop(.noPermission) }
        if permission.isOwnRelay, !shared.isLiveRelay(peer) { return drop(.deadRelay) }
        let outcome = allocations.update(handle) { allocation -> PeerOutcome in
            guard case .open(let open) = allocation.relays[relay.family], now < open.expires else {
                return .drop(.unknownRelay)
            }
            guard allocation.spend(payload.count, at: now) else { return .drop(.bandwidthLimit) }
            return .client(allocation.client)
        }
        switch outcome {
        case .client(let client):
            let channel = peers.channelNumber(handle.index, peer, at: now).flatMap { ChannelNumber(legacyRawValue: $0) }
            // Nobody answers an indication, so its identifier need not be hard to guess.
            let frame =
                if let channel {
                    ChannelData.frame(payload, on: channel, isPadded: client.transport.isStream, in: &packet)
                } else {
                    DataIndication.frame(payload, from: peer, .random(using: &weakEntropy), in: &packet)
                }
            guard let frame else { return drop(.noHeadroom) }
            guard client.transport.isStream || frame.count <= Self.maximumUDPPayload else {
                return drop(.payloadTooLarge)
            }
            if let limit = exceedsBandwidth(payload.count, of: handle, at: now) { return drop(limit) }
            _ = allocations.update(handle) { $0.traffic.countToClient(payload.count) }
            counters.traffic.countToClient(payload.count)
            return .deliver(to: client, bytes: frame)
        case .drop(let reason): return drop(reason)
        case nil: return drop(.unknownRelay)
        }
    }

    enum PeerOutcome {
        case client(ClientTuple)
        case drop(TURNServerDrop)
    }

    private mutating func drop(_ reason: TURNServerDrop) -> PeerDisposition {
        counters.countDrop(reason)
        return .ignored(reason)
    }

    mutating func ignore(_ reason: TURNServerDrop) -> ClientDisposition {
        counters.countDrop(reason)
        return .ignored(reason)
    }
}
