import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
import STUN
import TURN
import TURNServer
import Transport

/// A relay service with one thread, a client and a peer, on the loopback interface; the client speaks UDP or DTLS.
struct ServiceWorld: ~Copyable {
    private let service: RelayService
    private let listener: SocketAddress
    private let user: LongTermCredentials
    private var ends: Ends
    private let secure: SecureEnd?

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
    init(isSecure: Bool = false, backEnd: DatagramBackEnd = .epoll) throws {
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
        var configuration = RelayConfiguration(server: server, listeners: [.init(.udp, listener)])
        configuration.datagramBackEnd = backEnd
        // A look-up would take the datagrams of other programs' ports, which are elsewhere.
        configuration.server.relayPorts = 12_000...12_255
        if isSecure {
            let identity = try Identity.selfSigned(
                commonName: "localhost",
                dnsNames: ["localhost"],
                validForDays: 2,
                notBefore: Int64(WallClock.unixSeconds()) - 3600
            )
            configuration.dtls = try DTLSContext(serverIdentities: [identity])
        }
        let service = try RelayService(configuration, logger: .silent)
        let secure = isSecure ? try SecureEnd(to: listener) : nil
        try secure?.connect()
        self.listener = listener
        self.user = user
        self.ends = ends
        self.service = service
        self.secure = secure
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
            if secure?.send(message, count: bunch) == nil { ends.client.send(message, count: bunch, to: listener) }
            ends.peer.sendBack(try ends.peer.receive(atLeast: bunch))
            if try secure?.receive(atLeast: bunch) == nil { _ = try ends.client.receive(atLeast: bunch) }
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
        let bytes = try request.encoded(protectedBy: protection)
        if secure?.send(bytes, count: 1) != nil {
            let response = try secure?.receive(atLeast: 1) ?? []
            return try STUNMessage(decoding: response.span)
        }
        ends.client.send(bytes, to: listener)
        _ = try ends.client.receive(atLeast: 1)
        return try STUNMessage(decoding: ends.client.packets.payload(of: 0))
    }
}

/// A client's DTLS association on the loopback interface.
final class SecureEnd {
    private var connection: DTLSConnection
    private let poller: Poller
    private var events = PollEvents(capacity: 4)
    private var last: [UInt8] = []

    /// Begins a handshake.
    init(to server: SocketAddress) throws {
        let session = DTLSSession(
            client: try DTLSContext(clientTrust: .anything),
            serverName: "localhost",
            at: MonotonicClock.now()
        )
        let socket = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        connection = DTLSConnection(socket, to: server, session: session)
        poller = try Poller()
        try poller.add(connection.descriptor, token: 1, interest: .read)
        last.reserveCapacity(2048)
    }

    /// Completes the handshake.
    func connect() throws {
        let deadline = MonotonicClock.now() + .seconds(5)
        while !connection.isEstablished {
            guard MonotonicClock.now() < deadline else { throw SetupError("No handshake within five seconds.") }
            try poller.wait(until: min(deadline, connection.nextTimeout ?? deadline), into: &events)
            connection.receive(at: MonotonicClock.now()) { _ in }
            connection.handleTimeout(at: MonotonicClock.now())
        }
    }

    func send(_ message: [UInt8], count: Int) {
        for _ in 0..<count { _ = connection.send(message.span) }
    }

    /// Receives until so many messages have come, and returns the last.
    func receive(atLeast count: Int) throws -> [UInt8] {
        let deadline = MonotonicClock.now() + .seconds(2)
        var received = 0
        var last = self.last
        self.last = []
        defer { self.last = last }
        while received < count {
            try poller.wait(until: deadline, into: &events)
            connection.receive(at: MonotonicClock.now()) { message in
                received += 1
                last.removeAll(keepingCapacity: true)
                for index in message.indices { last.append(message[index]) }
            }
            if MonotonicClock.now() > deadline { throw SetupError("Only \(received) of \(count) messages came.") }
        }
        return last
    }
}
