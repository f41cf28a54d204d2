import Bytes
import NetTypes
import STUN
import TURN
import TURNServer

/// A host with one TURN client and the driver's duties.
final class ClientHost {
    var client: TURNClient
    /// Where its messages come from; changes when the host moves.
    var tuple: ClientTuple
    var events: [TURNClientEvent] = []
    /// What came from peers.
    var received: [(from: SocketAddress, bytes: [UInt8])] = []
    private unowned let world: World

    init(_ client: consuming TURNClient, _ tuple: ClientTuple, _ world: World) {
        self.client = client
        self.tuple = tuple
        self.world = world
    }

    var nextTimeout: Instant? { client.nextTimeout }
    var now: Instant { world.now }

    func start() { act { $0.start(at: $1) } }
    func close() { act { $0.close(at: $1) } }
    func handleTimeout() { act { $0.handleTimeout(at: $1) } }

    @discardableResult
    func permit(_ peers: String...) -> Bool { act { $0.permit(peers.map { ip($0) }, at: $1) } }

    @discardableResult
    func bind(_ peer: String) -> ChannelNumber? { act { $0.bindChannel(to: address(peer), at: $1) } }

    /// Gets another address, and tells the client.
    @discardableResult
    func move(to text: String, over transport: TransportProtocol = .udp) -> Bool {
        tuple = ClientTuple(
            transport: transport,
            remote: address(text),
            local: tuple.local,
            connection: transport.isStream ? tuple.connection + 1 : 0
        )
        return act { $0.move(over: transport, at: $1) }
    }

    /// Does one thing with the client, then what a driver has to do.
    @discardableResult
    func act<Result>(_ body: (inout TURNClient, Instant) -> Result) -> Result {
        let result = body(&client, now)
        drain()
        return result
    }

    @discardableResult
    func send(_ payload: [UInt8], to peer: String, dontFragment: Bool = false) -> TURNSendResult {
        send(payload, to: address(peer), dontFragment: dontFragment)
    }

    @discardableResult
    func send(_ payload: [UInt8], to peer: SocketAddress, dontFragment: Bool = false) -> TURNSendResult {
        var result = TURNSendResult.held
        let bytes = buildBytes(capacity: 4096) { output in
            result = client.send(payload.span, to: peer, at: now, dontFragment: dontFragment, into: &output)
        }
        drain()
        if !bytes.isEmpty { world.clientSends(bytes, tuple) }
        return result
    }

    func receive(_ bytes: [UInt8]) {
        let disposition = client.receive(bytes.span, from: World.server, at: now)
        if case .data(let peer, let range) = disposition { received.append((peer, Array(bytes[range]))) }
        drain()
    }

    private func drain() {
        while true {
            var isDone = false
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                isDone = client.pollTransmit(at: now, into: &output) == nil
            }
            if isDone { break }
            world.clientSends(bytes, tuple)
        }
        while let event = client.pollEvent() { events.append(event) }
    }

    // MARK: What has happened

    var allocation: TURNAllocation? { client.allocation }
    var challenge: LongTermChallenge? { client.challenge }

    var end: TURNClientEnd? {
        for case .ended(let end) in events { return end }
        return nil
    }

    /// How often the allocation has followed the host.
    var moves: Int { events.count { if case .moved = $0 { true } else { false } } }

    func has(_ event: TURNClientEvent) -> Bool { events.contains(event) }
}
