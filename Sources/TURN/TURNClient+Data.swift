import Bytes
public import NetTypes
import STUN

/// Data to and from peers: ChannelData where there is a channel, else indications (RFC 8656 §11, §12).
extension TURNClient {
    /// The longest payload that is held while a permission is on its way.
    public static var maximumHeldByteCount: Int { 2048 }

    /// Writes data for a peer as a message for the server, into `output`; allocates nothing once there is a permission.
    ///
    /// Over UDP each message is a datagram, over a stream it follows what was sent before. For a peer without permission
    /// one is asked for, and the data come out of `pollTransmit` behind the request. `dontFragment` counts only for
    /// peers without channel, and only if the server takes it (RFC 8656 §11.1, §12).
    public mutating func send(
        _ payload: Span<UInt8>,
        to peer: SocketAddress,
        at now: Instant,
        dontFragment: Bool = false,
        into output: inout OutputSpan<UInt8>
    ) -> TURNSendResult {
        guard case .allocated = phase, now < expires, let allocation else { return refuse(.noAllocation) }
        guard !isMoving else { return refuse(.moving) }
        guard configuration.relayed == .udp else { return refuse(.wrongRelayedTransport) }
        let peer = peer.scope == 0 ? peer : SocketAddress(peer.ip, port: peer.port)
        if !dontFragment || !allocation.supportsDontFragment, let channel = peers.channel(peer, at: now) {
            let start = output.count
            let isPadded = configuration.transport.isStream
            guard ChannelData.write(payload, on: channel, isPadded: isPadded, into: &output) else {
                return refuse(.tooLong)
            }
            return .written(byteCount: output.count - start)
        }
        let flag = dontFragment && allocation.supportsDontFragment
        if peers.isPermitted(peer.ip, at: now) { return indicate(payload, peer, flag, into: &output) }
        return sendEarly(payload, to: peer, flag, at: now)
    }

    mutating func indicate(
        _ payload: Span<UInt8>,
        _ peer: SocketAddress,
        _ dontFragment: Bool,
        into output: inout OutputSpan<UInt8>
    ) -> TURNSendResult {
        // Nobody answers an indication, so its identifier need not be hard to guess.
        let id = TransactionID.random(using: &weakEntropy)
        var builder = STUNMessageBuilder(.send, .indication, id, into: &output)
        builder.append(.xorPeerAddress, xored: peer, into: &output)
        if dontFragment { builder.append(.dontFragment, into: &output) }
        builder.append(.data, payload, into: &output)
        guard let count = try? builder.finish(into: &output) else { return refuse(.tooLong) }
        return .written(byteCount: count)
    }

    /// Holds data behind the request for its permission, which is made if it is not on its way.
    private mutating func sendEarly(
        _ payload: Span<UInt8>,
        to peer: SocketAddress,
        _ dontFragment: Bool,
        at now: Instant
    ) -> TURNSendResult {
        guard allocation?.relayed(peer.family) != nil else { return refuse(.wrongFamily) }
        guard payload.count <= Self.maximumHeldByteCount else { return refuse(.tooLong) }
        var isWritten = false
        let message = buildBytes(capacity: Self.maximumHeldByteCount + 64) { output in
            if case .written = indicate(payload, peer, dontFragment, into: &output) { isWritten = true }
        }
        guard isWritten else { return .refused(.tooLong) }
        guard let permission = peers.permissions[peer.ip] else {
            guard peers.addPermission(peer.ip) else { return refuse(.limitReached) }
            guard peers.hold(message, for: peer.ip) else {
                submit(.permit([peer.ip]), at: now)
                return refuse(.limitReached)
            }
            submit(.permit([peer.ip]), at: now)
            return .held
        }
        guard peers.hold(message, for: peer.ip) else { return refuse(.limitReached) }
        if permission.isRequested {
            // The request has left already, or the data will follow it when it does.
            if !waiting.contains(where: { addresses(of: $0).contains(peer.ip) }) { transmit(message) }
        } else {
            peers.updatePermission(peer.ip) { $0.isRequested = true }
            submit(.permit([peer.ip]), at: now)
        }
        return .held
    }

    // MARK: From the server

    mutating func receiveChannelData(_ message: Span<UInt8>, at now: Instant) -> TURNClientDisposition {
        guard case .allocated = phase else { return ignore(.noAllocation) }
        let data: ChannelData
        do throws(ChannelDataError) {
            data = try ChannelData(message)
        } catch {
            return ignore(.malformedChannelData)
        }
        // Also before the response to ChannelBind: on UDP the two may change places (turn 143).
        guard let peer = peers.peersByNumber[data.channel], let channel = peers.channels[peer],
            channel.isWanted || now < channel.expires
        else { return ignore(.unboundChannel) }
        return .data(from: peer, data.payload)
    }

    mutating func receiveDataIndication(
        _ message: borrowing STUNMessageView,
        at now: Instant
    ) -> TURNClientDisposition {
        guard case .allocated = phase else { return ignore(.noAllocation) }
        guard message.unknownRequiredAttributes(known: .turn).isEmpty,
            let peer = (try? message.xorPeerAddress()) ?? nil
        else { return ignore(.malformedIndication) }
        // A permission that is on its way may have been installed already.
        guard let permission = peers.permissions[peer.ip], permission.isRequested || now < permission.expires else {
            return ignore(.noPermission)
        }
        if let report = (try? message.icmp()) ?? nil {
            tell(.peerUnreachable(peer, report))
            return .accepted
        }
        guard let range = message.dataRange() else { return ignore(.malformedIndication) }
        return .data(from: peer, range)
    }
}
