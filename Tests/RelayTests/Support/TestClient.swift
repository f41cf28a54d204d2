import Bytes
import Crypto
import EventLoop
import NetTypes
import STUN
import TURN
import Testing
import Transport

@testable import Relay

/// What a client says and has heard, whatever carries it.
protocol TestClient: AnyObject {
    var nonce: [UInt8] { get set }
    var entropy: Entropy { get set }
    /// Whole messages that have come.
    var messages: [[UInt8]] { get set }

    func send(_ bytes: [UInt8])
    /// Takes what has come.
    func receive()
}

extension TestClient {
    /// Sends a request with credentials.
    func ask(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        followedBy rest: [UInt8] = []
    ) throws {
        let credentials = try LongTermCredentials(username: "alice", realm: TestShard.realm, password: "secret")
        let all =
            attributes + [
                .init(.username, Array("alice".utf8)), .init(.realm, Array(TestShard.realm.utf8)),
                .init(.nonce, nonce),
            ]
        let message = STUNMessage(
            STUNMessageType(method, .request),
            TransactionID.random(using: &entropy),
            attributes: all
        )
        send(try message.encoded(protectedBy: .sha1(credentials.md5Key)) + rest)
    }

    /// Gets a nonce by a request without credentials.
    func challenge(_ shard: inout TestShard) throws {
        send(try STUNMessage(STUNMessageType(.allocate, .request), .random(using: &entropy)).encoded())
        let challenge = try decode(next(&shard))
        nonce = try #require(challenge.attributes.first { $0.type == .nonce }).value
    }

    /// Waits for the next message.
    func next(_ shard: inout TestShard) throws -> [UInt8] {
        try shard.work { _ in
            receive()
            return !messages.isEmpty
        }
        return messages.removeFirst()
    }

    /// Asks and returns the answer.
    func request(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ shard: inout TestShard
    ) throws -> STUNMessage {
        try ask(method, attributes)
        return try decode(next(&shard))
    }

    /// Sends a Binding request and waits for the answer.
    func bind(_ shard: inout TestShard) throws {
        send(try STUNMessage(STUNMessageType(.binding, .request), .random(using: &entropy)).encoded())
        #expect(try decode(next(&shard)).type.messageClass == .success)
    }

    /// Allocates and returns the relayed address.
    func allocate(_ shard: inout TestShard, _ transport: RelayedTransport = .udp) throws -> SocketAddress {
        if nonce.isEmpty { try challenge(&shard) }
        try ask(.allocate, [.init(.requestedTransport, [transport.rawValue, 0, 0, 0])])
        let answer = try next(&shard)
        let relayed = try STUNMessageView(answer.span).xorRelayedAddress()
        return try #require(relayed)
    }

    func delete(_ shard: inout TestShard) throws {
        let answer = try request(.refresh, [.init(.lifetime, [0, 0, 0, 0])], &shard)
        #expect(answer.type.messageClass == .success)
    }

    /// Binds a channel to a peer.
    func bind(_ channel: UInt16, to peer: SocketAddress, _ shard: inout TestShard) throws {
        let number: [UInt8] = [UInt8(channel >> 8), UInt8(channel & 255), 0, 0]
        let answer = try request(.channelBind, [.init(.channelNumber, number), .peer(peer)], &shard)
        #expect(answer.type.messageClass == .success)
    }

    func permit(_ peer: SocketAddress, _ shard: inout TestShard) throws {
        #expect(try request(.createPermission, [.peer(peer)], &shard).type.messageClass == .success)
    }

    func sendIndication(_ data: [UInt8], to peer: SocketAddress, dontFragment: Bool = false) throws {
        let message = STUNMessage(
            STUNMessageType(.send, .indication),
            .random(using: &entropy),
            attributes: [.peer(peer)] + (dontFragment ? [.init(.dontFragment, [])] : []) + [.init(.data, data)]
        )
        send(try message.encoded())
    }
}

extension STUNMessage.Attribute {
    /// XOR-PEER-ADDRESS of an IPv4 address.
    static func peer(_ address: SocketAddress) -> Self {
        let masked = TransactionID(high: 0, low: 0).xor(address)
        return .init(
            .xorPeerAddress,
            buildBytes(capacity: 8) { output in
                output.append(bigEndian: 1 as UInt16)
                output.append(bigEndian: masked.port)
                output.append(bigEndian: masked.ip.ipv4Bits)
            }
        )
    }
}

/// Reads a whole message.
func decode(_ bytes: [UInt8]) throws -> STUNMessage { try STUNMessage(decoding: bytes.span) }

/// A UDP socket on the loopback: a client, or a peer.
final class UDPClient: TestClient {
    let socket: UDPSocket
    var nonce: [UInt8] = []
    var entropy = Entropy.system
    var messages: [[UInt8]] = []
    private let server: SocketAddress
    private var received = DatagramReceiveBatch(capacity: 16, payloadCapacity: 65536)
    private var sent = DatagramSendBatch(capacity: 16)

    init(_ server: SocketAddress, options: UDPSocket.Options = UDPSocket.Options()) throws {
        self.server = server
        socket = try UDPSocket(boundTo: SocketAddress(TestShard.loopback, port: 0), options: options)
    }

    var address: SocketAddress { socket.localAddress }

    func send(_ bytes: [UInt8]) { send(bytes, to: server) }

    func send(_ bytes: [UInt8], to destination: SocketAddress) {
        let isQueued = sent.enqueue(copying: bytes.span, on: DatagramRoute(socket.handle, to: destination))
        #expect(isQueued)
        sent.flush()
    }

    func receive() {
        for index in received.receive(from: socket.handle) { messages.append(received.payload(of: index).toArray()) }
        received.removeAll()
    }
}

/// A TCP or TLS client.
final class ShardStream: TestClient {
    var connection: StreamConnection
    var nonce: [UInt8] = []
    var entropy = Entropy.system
    var messages: [[UInt8]] = []
    /// How reading ended, if it has.
    var end: StreamReadResult?
    /// Whether what comes are a peer's bytes and no messages.
    var isRaw = false
    var bytes: [UInt8] = []

    init(_ server: SocketAddress, isSecure: Bool = false) throws {
        let socket = try TCPSocket(connectingTo: server)
        if isSecure {
            let context = try TLSContext(clientTrust: .anything)
            connection = StreamConnection(
                socket,
                tls: TLSSession(client: context, serverName: "localhost"),
                outputLimit: 1 << 20
            )
        } else {
            connection = StreamConnection(socket, outputLimit: 1 << 20)
        }
        connection.flush()
    }

    /// Waits until the stream can be written to.
    func establish(_ shard: inout TestShard) throws {
        try shard.work { _ in
            receive()
            return connection.isEstablished
        }
    }

    func send(_ bytes: [UInt8]) {
        connection.flush()
        switch connection.write(bytes.span) {
        case .sent, .queued: break
        case .full, .failed: end = end ?? .wouldBlock
        }
    }

    func receive() {
        connection.flush()
        while end == nil {
            var result = StreamReadResult.wouldBlock
            bytes.append(addingCapacity: 65536) { result = connection.read(into: &$0) }
            if case .bytes = result { continue }
            if result != .wouldBlock { end = result }
            break
        }
        if !isRaw { cut() }
    }

    private func cut() {
        var used = 0
        while used < bytes.count {
            switch StreamFraming().frame(at: bytes.span.extracting(used...)) {
            case .stun(let count), .channelData(let count):
                messages.append(Array(bytes[used..<used + count]))
                used += count
            case .needMore, .broken:
                bytes.removeFirst(used)
                return
            }
        }
        bytes.removeAll()
    }

    /// Waits until the server has ended the stream.
    func waitForEnd(_ shard: inout TestShard) throws {
        try shard.work { _ in
            receive()
            return end != nil
        }
    }
}
