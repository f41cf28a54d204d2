import Bytes
import NetTypes
package import STUN

/// Reads made-up bytes as a frame of a stream, as ChannelData and as the attributes of TURN: must not trap.
package func exerciseTURNDecoder(_ bytes: Span<UInt8>) -> ExerciseResult {
    let isFramed = exerciseFraming(bytes)
    _ = try? ChannelData(bytes)
    _ = RESTUsername(bytes)
    guard let view = try? STUNMessageView(bytes) else { return isFramed ? .rejected : .inconsistent }
    _ = try? view.xorPeerAddress()
    _ = try? view.forEachPeerAddress { _ in }
    _ = try? view.xorRelayedAddress()
    _ = try? view.xorRelayedAddress(.ipv6)
    _ = try? view.lifetimeSeconds()
    _ = try? view.channelNumber().flatMap(ChannelNumber.init(rawValue:))
    _ = try? view.requestedTransport()
    _ = try? view.requestedAddressFamily()
    _ = try? view.additionalAddressFamily()
    _ = try? view.evenPortReservesNext()
    _ = try? view.reservationToken()
    _ = view.dontFragment
    _ = try? view.addressErrorCode()
    _ = try? view.icmp()
    _ = try? view.connectionID()
    let isDataInside = view.dataRange().map { $0.lowerBound >= 24 && $0.upperBound <= bytes.count } ?? true
    return isFramed && isDataInside ? .consistent : .inconsistent
}

/// Whether the frame at the front is inside the bytes, or is said to need more than there are.
private func exerciseFraming(_ bytes: Span<UInt8>) -> Bool {
    switch StreamFraming().frame(at: bytes) {
    case .needMore(let count): count > bytes.count
    case .stun(let count), .channelData(let count): count > 0 && count & 3 == 0 && count <= bytes.count
    case .broken: true
    }
}
