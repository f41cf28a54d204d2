import Bytes
public import NetTypes
public import STUN

/// A server of STUN's Binding that does its work well, or badly in every way that a scenario wants.
public final class STUNServerProgram: SimulatedProgram {
    /// How it answers.
    public enum Conduct: Sendable, Hashable {
        /// As it should.
        case honest
        /// Not at all.
        case silent
        /// With a wrong address.
        case lying(SocketAddress)
        /// From a port that was not asked.
        case fromAnotherPort
        /// With an error.
        case refusing(ErrorCode)
        /// With bytes that are no STUN.
        case babbling
        /// With MAPPED-ADDRESS alone, as servers of RFC 3489 do.
        case antique
        /// With somebody else's transaction.
        case confused
    }

    /// How it answers; may be changed while it runs.
    public var conduct: Conduct
    /// How long it thinks before each answer.
    public var thinkingTime: TimeSpan
    /// How many requests it has had.
    public private(set) var requestCount = 0
    private let port: UInt16
    private var sockets: [SocketID] = []
    private var wrongSocket: SocketID?
    private var pending: [(due: Instant, socket: SocketID, bytes: [UInt8], client: SocketAddress, from: IPAddress)] = []

    /// Makes a server for one port of all addresses.
    public init(port: UInt16 = 3478, _ conduct: Conduct = .honest, thinkingTime: TimeSpan = .zero) {
        self.port = port
        self.conduct = conduct
        self.thinkingTime = thinkingTime
    }

    /// When the next answer is due.
    public var nextTimeout: Instant? { pending.first?.due }

    /// Takes requests.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started:
            if let socket = try? host.openUDP(port: port) { sockets.append(socket) }
            wrongSocket = try? host.openUDP()
        case .datagram(let socket, let bytes, let client, let local, _):
            guard socket != wrongSocket, let answer = answer(bytes, client, host) else { return }
            let due = host.now + thinkingTime
            let from = conduct == .fromAnotherPort ? wrongSocket ?? socket : socket
            pending.append((due, from, answer, client, local.ip))
            send(host)
        case .timeout: send(host)
        default: break
        }
    }

    private func send(_ host: HostContext) {
        while let next = pending.first, next.due <= host.now {
            pending.removeFirst()
            try? host.send(next.bytes, to: next.client, from: next.socket, source: next.from)
        }
    }

    private func answer(_ bytes: [UInt8], _ client: SocketAddress, _ host: HostContext) -> [UInt8]? {
        guard let request = try? STUNMessage(decoding: bytes.span), request.type == .init(.binding, .request) else {
            return nil
        }
        requestCount += 1
        var mapped = client
        switch conduct {
        case .honest, .fromAnotherPort, .antique, .confused: break
        case .silent: return nil
        case .lying(let address): mapped = address
        case .babbling: return Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        case .refusing(let code):
            return try? buildBytes(capacity: 128) { output throws(STUNError) in
                var builder = STUNMessageBuilder(.binding, .error, request.transactionID, into: &output)
                builder.append(code, into: &output)
                _ = try builder.finish(into: &output)
            }
        }
        let id = conduct == .confused ? TransactionID.random(using: &host.host.entropy) : request.transactionID
        return try? buildBytes(capacity: 128) { output throws(STUNError) in
            var builder = STUNMessageBuilder(.binding, .success, id, into: &output)
            if conduct == .antique {
                builder.append(.mappedAddress, mapped, into: &output)
            } else {
                builder.append(.xorMappedAddress, xored: mapped, into: &output)
            }
            _ = try builder.finish(into: &output)
        }
    }
}
