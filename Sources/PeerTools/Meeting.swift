public import Connectivity
public import ICE
public import ICETransport
import NetTypes
import STUN
public import SignalingMessages
import Synchronization
import TURN

/// Two peers on their way to a connection: who this end is, and what it has.
public struct Meeting: Sendable {
    /// The connection, whose states tell how it goes on.
    public let connection: ICEConnection
    /// Whether this end has made the offer.
    public let isOfferer: Bool
    /// What the peer has said of itself.
    public let peer: ICEDescription
    /// The ICE servers that were used.
    public let servers: [ICEServer]
    /// Goes on signaling until the connection ends; `nil` where codes are all there is.
    let signaling: Task<Void, Never>?

    /// The ICE password of the end that has offered.
    public var offererPassword: String {
        (isOfferer ? connection.localDescription : peer).credentials.password
    }
    /// The ICE password of the other end.
    public var answererPassword: String {
        (isOfferer ? peer : connection.localDescription).credentials.password
    }

    /// Ends signaling and the connection.
    public func end() async {
        signaling?.cancel()
        await connection.close()
    }
}

/// Brings two peers together, by codes or over a signaling server.
public enum Meetings {
    /// Offers by code: shows a code, and waits for the other's.
    ///
    /// - Throws: `PeerError` if the answer is no code, `CredentialError` or `ICELoopFull`.
    public static func offer(
        _ loop: ICELoop,
        _ configuration: ICESessionConfiguration,
        show: @Sendable (PeerCode) -> Void,
        answer: @Sendable () async throws -> PeerCode
    ) async throws -> Meeting {
        let connection = try loop.connection(configuration)
        show(await gatheredCode(connection, relays: !configuration.turnServers.isEmpty))
        let peer = try await answer()
        use(peer, connection)
        return Meeting(connection: connection, isOfferer: true, peer: peer.description, servers: [], signaling: nil)
    }

    /// Answers an offer by code: shows the answer.
    ///
    /// - Throws: `CredentialError` or `ICELoopFull`.
    public static func answer(
        _ peer: PeerCode,
        _ loop: ICELoop,
        _ configuration: ICESessionConfiguration,
        show: @Sendable (PeerCode) -> Void
    ) async throws -> Meeting {
        let connection = try loop.connection(configuration)
        let code = await gatheredCode(connection, relays: !configuration.turnServers.isEmpty)
        use(peer, connection)
        show(code)
        return Meeting(connection: connection, isOfferer: false, peer: peer.description, servers: [], signaling: nil)
    }

    /// How long a code waits at least, unless all is there before: gateways and second ways to a relay take a second.
    private static let codePatience = Duration.milliseconds(1500)

    /// Gathers until all is there, or until what there is will do and a relay is among it, if one is to be had.
    ///
    /// A code is told once: what comes later is of no use.
    private static func gatheredCode(_ connection: ICEConnection, relays: Bool) async -> PeerCode {
        connection.gather()
        let isEnough = Flag()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await update in connection.candidates {
                    if update == .goodEnough { isEnough.value.store(true, ordering: .relaxed) }
                    if case .done = update { return }
                }
            }
            group.addTask {
                var pause = codePatience
                while (try? await Task.sleep(for: pause)) != nil {
                    let found = await connection.report()?.candidates ?? []
                    let hasRelay = !relays || found.contains { $0.type == .relayed }
                    if hasRelay, isEnough.value.load(ordering: .relaxed) { return }
                    pause = .milliseconds(100)
                }
            }
            await group.next()
            group.cancelAll()
        }
        return PeerCode(connection.localDescription, await connection.report()?.candidates ?? [])
    }

    private static func use(_ peer: PeerCode, _ connection: ICEConnection) {
        connection.setRemoteDescription(peer.description)
        for candidate in peer.candidates { connection.addRemoteCandidate(candidate) }
        connection.endOfRemoteCandidates()
    }

    // MARK: Over a server

    /// The ICE servers that a signaling server gives to those who join.
    ///
    /// - Throws: `PeerError` if it cannot be used.
    public static func iceServers(_ client: SignalingClient) async throws(PeerError) -> [ICEServer] {
        for await message in client.messages {
            switch message {
            case .joined(_, let welcome): return welcome.iceServers.iceServers
            case .error(_, let text, _): throw PeerError(text)
            default: continue
            }
        }
        throw PeerError("the signaling server was lost")
    }

    /// Meets whoever is, or comes, in a room of a signaling server; the newcomer offers.
    ///
    /// `configure` gets the server's ICE servers and whether this end offers.
    /// - Throws: `PeerError` if the server cannot be used or is left, `CredentialError` or `ICELoopFull`.
    public static func join(
        _ client: SignalingClient,
        _ loop: ICELoop,
        wait: @escaping @Sendable () -> Void = {},
        configure: @Sendable (ICERole, [ICEServer]) throws -> ICESessionConfiguration
    ) async throws -> Meeting {
        var servers: [ICEServer] = []
        var messages = client.messages.makeAsyncIterator()
        while let message = await messages.next() {
            switch message {
            case .joined(_, let welcome):
                servers = welcome.iceServers.iceServers
                guard let other = welcome.peers.first else {
                    wait()
                    continue
                }
                let connection = try loop.connection(configure(.controlling, servers))
                return try await meet(client, connection, other.id, servers, isOfferer: true, nil)
            case .description(let id, let description) where description.type == .offer:
                let connection = try loop.connection(configure(.controlled, servers))
                let peer = try PeerCode(lines: description.sdp)
                return try await meet(client, connection, id, servers, isOfferer: false, peer)
            case .error(_, let text, _): throw PeerError(text)
            default: continue
            }
        }
        throw PeerError("the signaling server was lost")
    }

    private static func meet(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        _ other: String,
        _ servers: [ICEServer],
        isOfferer: Bool,
        _ offer: PeerCode?
    ) async throws -> Meeting {
        let own = PeerCode(connection.localDescription, [])
        client.send(.description(to: other, SessionDescription(type: isOfferer ? .offer : .answer, sdp: own.lines)))
        var peer = offer?.description
        if let offer { connection.setRemoteDescription(offer.description) }
        connection.gather()
        // The answer comes first, candidates of it later: the reader of both is one.
        var early: [Candidate] = []
        var messages = client.messages.makeAsyncIterator()
        while peer == nil, let message = await messages.next() {
            switch message {
            case .description(other, let description) where description.type == .answer:
                let code = try PeerCode(lines: description.sdp)
                peer = code.description
                connection.setRemoteDescription(code.description)
            case .candidate(other, let candidate):
                if let candidate = candidate.flatMap({ try? Candidate(text: $0.candidate) }) { early.append(candidate) }
            case .peerLeft(other, _): throw PeerError("the peer has left")
            case .error(_, let text, _): throw PeerError(text)
            default: continue
            }
        }
        guard let peer else { throw PeerError("the signaling server was lost") }
        for candidate in early { connection.addRemoteCandidate(candidate) }
        let signaling = Task { await signal(client, connection, other) }
        return Meeting(
            connection: connection,
            isOfferer: isOfferer,
            peer: peer,
            servers: servers,
            signaling: signaling
        )
    }

    /// Carries candidates both ways until the connection ends.
    private static func signal(_ client: SignalingClient, _ connection: ICEConnection, _ other: String) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await update in connection.candidates {
                    switch update {
                    case .found(let candidate):
                        client.send(.candidate(to: other, trickled(candidate.text, connection)))
                    case .done(signalsEnd: true): client.send(.candidate(to: other, nil))
                    case .done, .removed, .goodEnough, .restartAdvised: continue
                    }
                }
            }
            group.addTask {
                for await message in client.messages {
                    switch message {
                    case .candidate(other, let candidate):
                        guard let text = candidate?.candidate, !text.isEmpty else {
                            connection.endOfRemoteCandidates()
                            continue
                        }
                        if let candidate = try? Candidate(text: text) { connection.addRemoteCandidate(candidate) }
                    case .peerLeft(other, _): return
                    default: continue
                    }
                }
            }
            await group.waitForAll()
        }
    }

    private static func trickled(_ text: String, _ connection: ICEConnection) -> TrickledCandidate {
        TrickledCandidate(
            candidate: text,
            sdpMid: "0",
            sdpMLineIndex: 0,
            usernameFragment: connection.localDescription.credentials.usernameFragment
        )
    }
}

/// What one task tells another.
private final class Flag: Sendable {
    let value = Atomic(false)
}

extension ICESessionConfiguration {
    /// URIs of STUN, and of TURN, that are used at most: each costs sockets, and an examination's thread.
    static let uriLimit = 16

    /// Adds the servers that a signaling server has given; URIs that are not understood, or beyond 16, are left out.
    public mutating func use(_ servers: [ICEServer]) {
        for server in servers {
            let stunRoom = max(0, Self.uriLimit - stunServers.count)
            stunServers += server.urls.compactMap { try? STUNURI($0) }.prefix(stunRoom)
            let turnRoom = max(0, Self.uriLimit - turnServers.reduce(0) { $0 + $1.uris.count })
            let uris = Array(server.urls.compactMap { try? TURNURI($0) }.prefix(turnRoom))
            guard !uris.isEmpty, let username = server.username, let credential = server.credential else { continue }
            turnServers.append(TURNServer(uris, username: username, password: credential))
        }
    }
}
