import Bytes
import Connectivity
import ICE
import NetTypes
import Transport

/// ICMP errors about datagrams that were sent (ice 49), each for the session that has sent the datagram.
extension LoopRunner {
    /// How many errors of one socket are taken in a turn; the poller tells of the others again.
    private static let errorsPerTurn = 64

    func readErrors(_ end: DatagramEnd) {
        for _ in 0..<Self.errorsPerTurn {
            guard let error = end.socket.handle.nextICMPError() else { return }
            guard let failure = Self.failure(error) else { continue }
            end.driven.session.sendFailed(on: end.base, to: Self.destination(error), failure, at: now)
        }
    }

    /// On a shared socket the quoted datagram names its sender by its transaction, or else the path by its address.
    func readSharedErrors(_ end: SharedEnd) {
        guard let agents else { return }
        var touched: [Driven] = []
        for _ in 0..<Self.errorsPerTurn {
            var quoted: [UInt8] = []
            var read: ICMPError?
            quoted.append(addingCapacity: 20) { read = end.socket.handle.nextICMPError(quoting: &$0) }
            guard let error = read else { break }
            guard let failure = Self.failure(error) else { continue }
            let destination = Self.destination(error)
            guard let user = end.sender(of: quoted.span, to: destination, agents) else {
                agents.count(.unknownSender)
                continue
            }
            user.driven.session.sendFailed(on: user.base, to: destination, failure, at: now)
            if !touched.contains(where: { $0 === user.driven }) { touched.append(user.driven) }
        }
        for driven in touched { drain(driven) }
    }

    private static func destination(_ error: ICMPError) -> SocketAddress {
        SocketAddress(error.destination.ip, port: error.destination.port)
    }

    /// What an error says of the path; `nil` for those that say nothing of it.
    private static func failure(_ error: ICMPError) -> SendFailure? {
        guard error.isICMP else { return nil }
        return switch (error.destination.family, error.type, error.code) {
        case (.ipv4, 3, 4), (.ipv6, 2, _): .messageTooBig(mtu: UInt16(exactly: error.mtu))
        case (.ipv4, 3, 3), (.ipv6, 1, 4): .refused
        case (.ipv4, 3, _), (.ipv6, 1, _): .unreachable
        default: nil
        }
    }
}
