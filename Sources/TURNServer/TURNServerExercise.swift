import Bytes
import NetTypes
import STUN
import TURN

/// Plays driver, clients and peers to a script of arbitrary bytes, for fuzzing and for random tests.
///
/// Some clients know a password, so that the bytes reach what lies behind authentication. When the script is over,
/// everything must have been given back: ports, quota, sockets and table entries.
package struct TURNServerExercise: ~Copyable {
    /// A server that the exercise can use: one user, both families, documentation addresses as peers.
    private static func configuration(_ user: LongTermCredentials) -> TURNServerConfiguration {
        let relays = [
            RelayAddress(local: IPAddress(ipv4: 0xC000_0201)), RelayAddress(local: IPAddress(ipv6: 1 &<< 61, 1)),
        ]
        let allow = ["203.0.113.0/24", "2001:db8::/32"].compactMap { IPPrefix($0) }
        var configuration = TURNServerConfiguration(
            credentials: TURNServerCredentials(
                realm: "realm",
                users: [user],
                nonceSecret: Array(repeating: 1, count: 16)
            ),
            relayAddresses: relays,
            gate: PeerAddressGate(allow: allow, relayAddresses: relays)
        )
        configuration.relayPorts = 50_000...50_015
        configuration.limits.allocationsPerUser = 20
        configuration.limits.permissionsPerAllocation = 8
        configuration.limits.channelsPerAllocation = 4
        configuration.limits.limitedPrefixes = 64
        configuration.limits.connectionsPerAllocation = 4
        configuration.relaysTCP = true
        configuration.tellsChannelPaths = true
        return configuration
    }

    private static let clock: UInt64 = 1_700_000_000
    // What every exercise shares, made once: a fuzzer makes an exercise for each input.
    private static let parts = Result {
        let user = try LongTermCredentials(username: "user", realm: "realm", password: "password")
        let server = Self.configuration(user)
        return (user: user, configuration: server, nonces: try server.credentials.nonceFactory())
    }
    private let credentials: LongTermCredentials
    private let nonces: NonceFactory
    private let shared: TURNServerShared
    private var engine: TURNServerEngine
    private var now = Instant.zero
    private var sockets: [UInt64: RelayID] = [:]
    private var connections: Set<PeerConnectionID> = []
    private var lastConnection: UInt32 = 0
    private var nextToken: UInt64 = 0
    private var failures = 0
    private var transactions: UInt64 = 0

    /// Makes an exercise; everything that is random in it follows from the seed.
    package init(seed: UInt64) throws {
        let (user, configuration, factory) = try Self.parts.get()
        let shared = TURNServerShared(configuration, entropy: .seeded(seed))
        engine = try TURNServerEngine(configuration, shared: shared, unixSeconds: Self.clock, entropy: .seeded(seed))
        credentials = user
        nonces = factory
        self.shared = shared
    }

    /// How many allocations the script has made so far.
    package var allocationsCreated: UInt64 { engine.counters.allocationsCreated }

    /// Plays a script to its end; traps if a limit is passed.
    package mutating func run(_ script: Span<UInt8>) {
        var reader = ByteReader(script)
        do {
            while reader.remaining > 0 { try step(&reader) }
        } catch {
            // The script ends in the middle of a step.
        }
    }

    /// Ends everything; traps unless all of it was given back.
    package mutating func finish() {
        engine.revokeAll(at: now)
        drain()
        now = now + .seconds(86_400)
        engine.handleTimeout(at: now)
        drain()
        let statistics = engine.statistics
        precondition(statistics.allocations == 0 && statistics.permissions == 0 && statistics.channels == 0)
        precondition(shared.allocationCount == 0 && shared.userCount == 0 && shared.reservationCount == 0)
        precondition(shared.takenPortCount == 0 && shared.livePortCount == 0)
        precondition(statistics.peerConnections == 0 && connections.isEmpty)
        precondition(sockets.isEmpty && engine.nextTimeout == nil)
    }

    private mutating func step(_ reader: inout ByteReader) throws(WireError) {
        let kind = try reader.readUInt8()
        let client = tuple(try reader.readUInt8())
        switch kind & 7 {
        case 0:
            now = now + .seconds(UInt64(kind &>> 3) * 8)
            engine.handleTimeout(at: now)
        case 1: engine.connectionClosed(client, at: now)
        case 2: failures = Int(kind &>> 3)
        case 3:
            let source = try peer(&reader)
            let count = Int(kind &>> 3)
            deliver(count, from: source)
        case 4:
            let message = try reader.read(min(reader.remaining, Int(try reader.readUInt8()) * 4))
            _ = engine.receive(message, from: client, at: now)
        default:
            let attributes = try reader.read(min(reader.remaining, Int(try reader.readUInt8() & 15) * 4))
            let message = sign(method(kind), attributes, client, isIndication: kind & 7 == 7)
            _ = engine.receive(message.span, from: client, at: now)
        }
        drain()
        precondition(engine.allocations.count <= 20, "more allocations than the quota allows")
    }

    private func tuple(_ byte: UInt8) -> ClientTuple {
        ClientTuple(
            transport: byte & 1 == 0 ? .udp : .tcp,
            remote: SocketAddress(IPAddress(ipv4: 0xC633_6401), port: UInt16(byte & 30)),
            local: SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
        )
    }

    private func method(_ kind: UInt8) -> STUNMethod {
        guard kind & 7 != 7 else { return .send }
        let methods: [STUNMethod] = [
            .allocate, .refresh, .createPermission, .channelBind, .connect, .connectionBind, .allocate,
            .createPermission,
        ]
        return methods[Int(kind &>> 3) % methods.count]
    }

    private mutating func peer(_ reader: inout ByteReader) throws(WireError) -> SocketAddress {
        let bits = try reader.readUInt16()
        let port = 1000 + (bits & 3)
        guard bits & 0x8000 == 0 else {
            return SocketAddress(IPAddress(ipv6: 0x2001_0DB8 &<< 32, UInt64(bits & 7)), port: port)
        }
        return SocketAddress(IPAddress(ipv4: 0xCB00_7100 | UInt32(bits &>> 4 & 7)), port: port)
    }

    /// Makes an authenticated request, or an indication, of attributes that the script has written.
    private mutating func sign(
        _ method: STUNMethod,
        _ attributes: Span<UInt8>,
        _ client: ClientTuple,
        isIndication: Bool
    ) -> [UInt8] {
        transactions &+= 1
        let transaction = TransactionID(high: transactions &>> 1, low: 7)
        return buildBytes(capacity: 2000) { output in
            var builder = STUNMessageBuilder(method, isIndication ? .indication : .request, transaction, into: &output)
            append(attributes, to: &builder, into: &output)
            guard !isIndication else {
                _ = try? builder.finish(into: &output)
                return
            }
            builder.append(.username, "user", into: &output)
            builder.append(.realm, "realm", into: &output)
            builder.append(nonceFor: client.remote, from: nonces, atUnixSeconds: Self.clock, into: &output)
            _ = try? builder.finish(protectedBy: .sha1(credentials.md5Key), into: &output)
        }
    }

    /// Four bytes of script make one attribute: mostly one that means something, with a value of few bits.
    private func append(
        _ attributes: Span<UInt8>,
        to builder: inout STUNMessageBuilder,
        into output: inout OutputSpan<UInt8>
    ) {
        for offset in stride(from: 0, to: attributes.count &- 3, by: 4) {
            let (kind, value) = (attributes[offset], attributes.bigEndianUInt16(at: offset &+ 2))
            switch kind & 15 {
            case 0...2: builder.append(value & 1 == 1 ? RelayedTransport.tcp : .udp, into: &output)
            case 3: builder.append(.lifetime, UInt32(value & 3) &* 700, into: &output)
            case 4: builder.append(evenPortReservingNext: value & 1 == 1, into: &output)
            case 5: builder.append(requested: value & 1 == 1 ? .ipv6 : .ipv4, into: &output)
            case 6: builder.append(additional: .ipv6, into: &output)
            case 7 where value & 1 == 1:
                builder.append(.connectionID, lastConnection &+ UInt32(value &>> 14), into: &output)
            case 7: builder.append(.reservationToken, UInt64(value), into: &output)
            case 8: builder.append(.channelNumber, UInt32(0x4000 | value & 7) &<< 16, into: &output)
            case 9...12:
                let ip = IPAddress(ipv4: 0xCB00_7100 | UInt32(value &>> 4 & 7))
                builder.append(.xorPeerAddress, xored: SocketAddress(ip, port: 1000 + (value & 3)), into: &output)
            case 13:
                let ip = IPAddress(ipv6: 0x2001_0DB8 &<< 32, UInt64(value &>> 4 & 7))
                builder.append(.xorPeerAddress, xored: SocketAddress(ip, port: 1000 + (value & 3)), into: &output)
            case 14: builder.append(.data, attributes.extracting(offset..<offset &+ 4), into: &output)
            default:
                builder.append(
                    AttributeType(rawValue: value),
                    attributes.extracting(offset..<offset &+ 2),
                    into: &output
                )
            }
        }
    }

    private mutating func deliver(_ count: Int, from source: SocketAddress) {
        let relays = Array(sockets.values)
        for id in relays.prefix(4) {
            guard count & 1 == 0 else {
                if let connection = engine.peerAccepted(id, from: source, at: now) { connections.insert(connection) }
                continue
            }
            var buffer = [UInt8](repeating: 0, count: 64 + count + 4)
            var packet = buffer.mutableSpan
            let disposition = engine.receiveFromPeer(
                &packet,
                payload: 64..<64 + count,
                relay: id,
                source: source,
                at: now
            )
            if case .deliver(_, let bytes) = disposition {
                precondition(bytes.lowerBound >= 0 && bytes.upperBound <= 64 + count + 4 && bytes.count >= count)
            }
        }
    }

    private mutating func drain() {
        while let event = engine.pollEvent() {
            switch event {
            case .openRelay(let request), .openListener(let request):
                if failures > 0 {
                    failures -= 1
                    engine.relayOpenFailed(request.id, addressInUse: failures & 3 != 0, at: now)
                } else {
                    nextToken += 1
                    sockets[nextToken] = request.id
                    engine.relayOpened(request.id, token: nextToken, at: now)
                }
            case .closeRelay(let token):
                let known = sockets.removeValue(forKey: token)
                precondition(known != nil, "closed a socket that is not open")
            case .channelPathsChanged(let handle), .channelPathsExtended(let handle):
                for path in engine.channelPaths(of: handle, at: now) {
                    precondition(path.client.transport == .udp && path.toClientUntil <= path.toPeerUntil)
                }
            case .connectPeer(let request):
                failures = max(0, failures - 1)
                let isNew = connections.insert(request.id).inserted
                precondition(isNew, "two connections of one name")
                if failures & 1 == 0 {
                    engine.peerConnected(request.id, at: now)
                } else {
                    connections.remove(request.id)
                    engine.peerConnectFailed(request.id, at: now)
                }
            case .joinPeer(let id, _): precondition(connections.contains(id), "joined a connection that is not there")
            case .closePeer(let id):
                let known = connections.remove(id)
                precondition(known != nil, "closed a connection that is not there")
            case .allocationCreated, .peerPermitted, .allocationEnded, .authenticationFailed: break
            case .clientJoined, .clientLeft, .allocationMoved: break
            }
        }
        while !engine.outbox.isEmpty {
            let response = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
                _ = engine.pollTransmit(into: &output)
            }
            if let view = try? STUNMessageView(response.span), let number = try? view.connectionID() {
                lastConnection = number
            }
        }
    }
}
