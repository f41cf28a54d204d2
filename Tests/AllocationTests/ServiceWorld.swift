import Bytes
import Diagnostics
import NetTypes
import Relay
import STUN
import TURN
import TURNServer
import Transport

/// A relay service with one thread, a client and a peer, on the loopback interface.
struct ServiceWorld: ~Copyable {
    private let service: RelayService
    private let listener: SocketAddress
    private let user: LongTermCredentials
    private var ends: Ends

    private struct Ends: ~Copyable {
        var client: DatagramEnd
        var peer: DatagramEnd

        init() throws {
            let client = try DatagramEnd()
            peer = try DatagramEnd()
            self.client = client
        }
    }

    /// Starts the service.
    init() throws {
        let ends = try Ends()
        // A port that was free a moment ago.
        let listener = try DatagramEnd().address
        let user = try LongTermCredentials(username: "user", realm: "realm", password: "password")
        let loopback = IPAddress.loopback(.ipv4)
        let relay = RelayAddress(local: loopback)
        let gate = PeerAddressGate(allow: [IPPrefix("127.0.0.1")].compactMap { $0 }, relayAddresses: [relay])
        let server = TURNServerConfiguration(
            credentials: TURNServerCredentials(realm: "realm", users: [user]),
            relayAddresses: [relay],
            gate: gate
        )
        service = try RelayService(
            RelayConfiguration(server: server, listeners: [.init(.udp, listener)]),
            logger: .silent
        )
        self.listener = listener
        self.user = user
        self.ends = ends
    }

    deinit {
        service.stop()
        service.join()
    }

    /// Sends datagrams both ways in bunches and counts the blocks that the whole process takes for each.
    mutating func blocksPerDatagram() throws -> Double {
        let payload = [UInt8](repeating: 7, count: 100)
        let message = [0x40, 0, 0, 100] + payload
        let bunch = 16
        try allocate()
        let blocks = try blocksPerOperation(400) { _ in
            ends.client.send(message, count: bunch, to: listener)
            ends.peer.sendBack(try ends.peer.receive(atLeast: bunch))
            _ = try ends.client.receive(atLeast: bunch)
        }
        return blocks / Double(2 * bunch)
    }

    /// Allocates, and binds channel 0x4000 to the peer.
    private mutating func allocate() throws {
        let transport = STUNMessage.Attribute(.requestedTransport, [17, 0, 0, 0])
        let challenge = try exchange(.allocate, [transport])
        guard let nonce = challenge.attributes.first(where: { $0.type == .nonce })?.value else {
            throw SetupError("The server sends no nonce.")
        }
        try expectSuccess(.allocate, [transport], nonce)
        let address = ends.peer.address
        let bytes = buildBytes(capacity: 64) { output in
            var builder = STUNMessageBuilder(.send, .indication, TransactionID(high: 0, low: 0), into: &output)
            builder.append(.xorPeerAddress, xored: address, into: &output)
            _ = try? builder.finish(into: &output)
        }
        let peer = STUNMessage.Attribute(.xorPeerAddress, Array(bytes.dropFirst(24)))
        try expectSuccess(.channelBind, [.init(.channelNumber, [0x40, 0, 0, 0]), peer], nonce)
    }

    private mutating func expectSuccess(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ nonce: [UInt8]
    ) throws {
        let credentials: [STUNMessage.Attribute] = [
            .init(.username, Array("user".utf8)), .init(.realm, Array("realm".utf8)), .init(.nonce, nonce),
        ]
        let response = try exchange(method, attributes + credentials, .sha1(user.md5Key))
        guard response.type.messageClass == .success else { throw SetupError("The server refuses: \(response)") }
    }

    private mutating func exchange(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ protection: MessageProtection = .none
    ) throws -> STUNMessage {
        let transaction = TransactionID(high: 0, low: 0)
        let request = STUNMessage(STUNMessageType(method, .request), transaction, attributes: attributes)
        ends.client.send(try request.encoded(protectedBy: protection), to: listener)
        _ = try ends.client.receive(atLeast: 1)
        return try STUNMessage(decoding: ends.client.packets.payload(of: 0))
    }
}
