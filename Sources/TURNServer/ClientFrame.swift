import NetTypes
import STUN
import TURN

/// What the server puts around a payload from a peer, where it lies (RFC 8656 §11.3, §12.7).
enum ClientFrame {
    /// The client has bound a channel to the peer: ChannelData, padded on streams only (RFC 8656 §12.5).
    case channelData(ChannelNumber)
    /// It has not: a Data indication under this identifier.
    case dataIndication(from: SocketAddress, TransactionID)

    /// Writes header and padding around the payload and returns where the message stands in the packet.
    func write(
        around payload: Range<Int>,
        for transport: TransportProtocol,
        in packet: inout MutableSpan<UInt8>
    ) -> Result<Range<Int>, Refusal> {
        let frame: Range<Int>?
        switch self {
        case .channelData(let channel):
            frame = ChannelData.frame(payload, on: channel, isPadded: transport.isStream, in: &packet)
        case .dataIndication(let peer, let transactionID):
            frame = DataIndication.frame(payload, from: peer, transactionID, in: &packet)
        }
        guard let frame else { return .failure(Refusal(reason: .noHeadroom)) }
        guard transport.isStream || frame.count <= TURNServerEngine.maximumUDPPayload else {
            return .failure(Refusal(reason: .payloadTooLarge))
        }
        return .success(frame)
    }

    struct Refusal: Error {
        let reason: TURNServerDrop
    }
}
