import Bytes
import EventLoop
import NetTypes
import STUN
import TURN

/// One allocation with its link: what a driver of a TURN client does.
final class TURNEndpoint {
    private var client: TURNClient
    let link: any Link
    /// What peers have sent, until it is taken.
    private(set) var received: [(from: SocketAddress, bytes: [UInt8])] = []
    private(set) var end: TURNClientEnd?
    private(set) var isBound = false
    /// Addresses to and from which the server relays.
    private(set) var permitted: Set<IPAddress> = []
    /// Connections with peers that the server has, and waits to have taken over (RFC 6062).
    private(set) var connections: [(peer: SocketAddress, id: ConnectionID)] = []
    private(set) var connectFailure: TURNClientFailure?
    private(set) var unreachable: ICMPReport?
    /// When the allocation was there.
    private(set) var allocatedAt: Instant?

    init(_ configuration: TURNClientConfiguration, _ target: ServerTarget) throws(InstrumentError) {
        do throws(CredentialError) {
            client = try TURNClient(configuration)
        } catch {
            throw InstrumentError("\(error)")
        }
        link = try target.open()
    }

    var allocation: TURNAllocation? { client.allocation }
    var challenge: LongTermChallenge? { client.challenge }
    var nextTimeout: Instant { client.nextTimeout ?? .distantFuture }

    func start() { act { $0.start(at: $1) } }
    func close() { act { $0.close(at: $1) } }
    func bind(_ peer: SocketAddress) { act { _ = $0.bindChannel(to: peer, at: $1) } }
    func connect(to peer: SocketAddress) { act { _ = $0.connect(to: peer, at: $1) } }
    func dataConnection(_ id: ConnectionID) -> TURNDataConnection { client.dataConnection(id) }
    func permit(_ peer: SocketAddress) { act { _ = $0.permit([peer.ip], at: $1) } }

    /// Sends data to a peer; whether the client took it.
    @discardableResult
    func send(_ payload: [UInt8], to peer: SocketAddress) -> Bool {
        let now = MonotonicClock.now()
        var result = TURNSendResult.held
        let bytes = buildBytes(capacity: payload.count + 64) { output in
            result = client.send(payload.span, to: peer, at: now, into: &output)
        }
        drain(now)
        if !bytes.isEmpty { link.send(bytes.span) }
        if case .refused = result { return false }
        return true
    }

    /// Takes what has come and does what is due.
    func turn() {
        let now = MonotonicClock.now()
        link.receive { bytes, source in
            if case .data(let peer, let range) = client.receive(bytes, from: source, at: now) {
                received.append((peer, bytes.extracting(range).toArray()))
            }
        }
        if link.failure != nil { client.transportFailed(at: now) }
        client.handleTimeout(at: now)
        drain(now)
    }

    func takeReceived() -> [(from: SocketAddress, bytes: [UInt8])] {
        defer { received.removeAll(keepingCapacity: true) }
        return received
    }

    private func act(_ body: (inout TURNClient, Instant) -> Void) {
        let now = MonotonicClock.now()
        body(&client, now)
        drain(now)
    }

    private func drain(_ now: Instant) {
        while true {
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                _ = client.pollTransmit(at: now, into: &output)
            }
            if bytes.isEmpty { break }
            link.send(bytes.span)
        }
        while let event = client.pollEvent() {
            switch event {
            case .allocated: allocatedAt = now
            case .channelBound: isBound = true
            case .peerUnreachable(_, let report): unreachable = report
            case .permitted(let ip): permitted.insert(ip)
            case .connected(let peer, let id), .connectionAttempt(let peer, let id): connections.append((peer, id))
            case .connectFailed(_, let failure): connectFailure = failure
            case .ended(let reason):
                end = reason
                if reason == .failed(.connectionDead) { link.reset() }
            case .refreshed, .moved, .permissionFailed, .channelFailed: break
            }
        }
    }
}
