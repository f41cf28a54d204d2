import Bytes
public import NetTypes
import STUN
public import TURN

/// ICMP messages about relayed datagrams (RFC 8656 §11.5).
extension TURNServerEngine {
    /// Takes what ICMP said about a datagram that a relay socket has sent to `destination`.
    ///
    /// The client learns of it by a Data indication without data, if it has a permission for that peer: whoever has sent
    /// the ICMP message is on the way, so it is the destination that counts (turn 132).
    public mutating func receiveICMP(
        _ report: ICMPReport,
        relay: RelayID,
        destination: SocketAddress,
        at now: Instant
    ) {
        let handle = relay.allocation
        let destination = destination.unmapped
        guard let report = Self.reported(report, destination.family) else {
            return counters.countDrop(.unreportedICMP)
        }
        let peer = presentsRelays ? gate.presented(destination) : destination
        let client = allocations.read(handle) { allocation -> ClientTuple? in
            guard let open = allocation.relays[relay.family].open, now < open.expires else { return nil }
            return allocation.client
        }
        guard let client = client ?? nil else { return counters.countDrop(.unknownRelay) }
        guard peers.permission(handle.index, peer.ip, at: now) != nil else { return counters.countDrop(.noPermission) }
        let transaction = TransactionID.random(using: &weakEntropy)
        let written = outbox.append(to: client, room: 128) { output in
            var builder = STUNMessageBuilder(.data, .indication, transaction, into: &output)
            builder.append(.xorPeerAddress, xored: peer, into: &output)
            builder.append(report, into: &output)
            return (try? builder.finish(into: &output)) != nil
        }
        if !written { counters.countDrop(.outboxFull) }
    }

    /// The kinds of which clients are told, with error data for those that have an MTU (turn 132, 133).
    private static func reported(_ report: ICMPReport, _ family: AddressFamily) -> ICMPReport? {
        let hasMTU: Bool
        switch (family, report.type) {
        case (.ipv4, 3): hasMTU = report.code == 4
        case (.ipv4, 11): hasMTU = false
        case (.ipv6, 1), (.ipv6, 3): hasMTU = false
        case (.ipv6, 2): hasMTU = true
        default: return nil
        }
        return ICMPReport(type: report.type, code: report.code, errorData: hasMTU ? report.errorData : 0)
    }
}
