public import Connectivity
public import ICE
public import ICETransport
import NetTypes
import STUN
public import SignalingMessages
import TURN

/// Meeting over a signaling server.
extension Meetings {
    /// The ICE servers that a signaling server gives to those who join.
    ///
    /// - Throws: `PeerError` if it cannot be used.
    public static func iceServers(_ client: SignalingClient) async throws(PeerError) -> [ICEServer] {
        for await message in client.messages {
            switch message {
            case .joined(_, let welcome): return welcome.iceServers.iceServers
            case .error(_, let text, _): throw PeerError(said: text)
            default: continue
            }
        }
        throw PeerError("the signaling server was lost")
    }

    /// Meets whoever is, or comes, in a room of a signaling server; the newcomer offers.
    ///
    /// `configure` gets the server's ICE servers and whether this end offers. The other end may take `patience` to answer, and
    /// as long again until there is a path.
    /// - Throws: `PeerError` if the server cannot be used or is left, or the other end does not answer, `CredentialError` or
    ///   `ICELoopFull`.
    public static func join(
        _ client: SignalingClient,
        _ loop: ICELoop,
        patience: Duration = Meetings.patience,
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
                return try await meet(client, connection, other.id, servers, nil, patience)
            case .description(let id, let description) where description.type == .offer:
                let connection = try loop.connection(configure(.controlled, servers))
                let peer = try PeerCode(lines: description.sdp)
                return try await meet(client, connection, id, servers, peer, patience)
            case .error(_, let text, _): throw PeerError(said: text)
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
        _ offer: PeerCode?,
        _ patience: Duration
    ) async throws -> Meeting {
        let own = PeerCode(connection.localDescription, [])
        client.send(
            .description(to: other, SessionDescription(type: offer == nil ? .offer : .answer, sdp: own.lines))
        )
        if let offer { connection.setRemoteDescription(offer.description) }
        connection.gather()
        var peer = offer?.description
        if offer == nil {
            let answer = try await answer(client, other, within: patience)
            peer = answer.description
            connection.setRemoteDescription(answer.description)
            for candidate in answer.candidates { connection.addRemoteCandidate(candidate) }
        }
        guard let peer else { throw PeerError("the other end has not said who it is") }
        let (departure, news) = AsyncStream<Void>.makeStream()
        return Meeting(
            connection: connection,
            isOfferer: offer == nil,
            peer: peer,
            servers: servers,
            signaling: .init(
                client: client,
                task: Task { await signal(client, connection, other, news) },
                departure: departure
            ),
            patience: patience
        )
    }

    /// The answer of the other end, with the candidates that have overtaken it.
    private static func answer(
        _ client: SignalingClient,
        _ other: String,
        within patience: Duration
    ) async throws -> PeerCode {
        try await withThrowingTaskGroup(of: PeerCode.self) { group in
            group.addTask {
                var early: [Candidate] = []
                for await message in client.messages {
                    switch message {
                    case .description(other, let description) where description.type == .answer:
                        return PeerCode(try PeerCode(lines: description.sdp).description, early)
                    case .candidate(other, let candidate):
                        guard early.count < 100 else { continue }
                        if let candidate = candidate.flatMap({ try? Candidate(text: $0.candidate) }) {
                            early.append(candidate)
                        }
                    case .peerLeft(other, _): throw PeerError("the other end has gone: run both ends again")
                    case .error(_, let text, _): throw PeerError(said: text)
                    default: continue
                    }
                }
                throw PeerError("the signaling server was lost")
            }
            group.addTask {
                try await Task.sleep(for: patience)
                throw PeerError(
                    "the other end does not answer: it has ended, or is no other 'floe' of this command; run both ends again"
                )
            }
            defer { group.cancelAll() }
            guard let answer = try await group.next() else { throw PeerError("nothing has come") }
            return answer
        }
    }

    /// Carries candidates both ways until the connection ends.
    private static func signal(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        _ other: String,
        _ departure: AsyncStream<Void>.Continuation
    ) async {
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
                await listen(client, connection, other, departure)
                // Whatever has ended signaling: no candidate comes any more, and ICE need not wait for one.
                connection.endOfRemoteCandidates()
                departure.finish()
            }
            await group.waitForAll()
        }
    }

    /// Takes the other end's candidates until there are no more to come.
    private static func listen(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        _ other: String,
        _ departure: AsyncStream<Void>.Continuation
    ) async {
        for await message in client.messages {
            switch message {
            case .candidate(other, let candidate):
                guard let text = candidate?.candidate, !text.isEmpty else {
                    connection.endOfRemoteCandidates()
                    continue
                }
                if let candidate = try? Candidate(text: text) { connection.addRemoteCandidate(candidate) }
            case .peerLeft(other, let reason):
                // One that only was away for too long may still be there for us.
                if reason == .left { departure.yield() }
                return
            default: continue
            }
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
