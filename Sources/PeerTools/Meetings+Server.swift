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
    /// It offers to the newest first, and to the next if there is no answer in an eighth of `patience`. One who is away is no
    /// other end, since none resumes. Whoever comes while nobody has answered is answered.
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
                let peers = welcome.peers.reversed().filter { !$0.isAway }.map(\.id)
                guard !peers.isEmpty else {
                    wait()
                    continue
                }
                let connection = try loop.connection(configure(.controlling, servers))
                connection.gather()
                let found = try await offer(client, connection, to: peers, within: patience)
                guard found.isAnswer else {
                    await connection.close()
                    let connection = try loop.connection(configure(.controlled, servers))
                    return answer(client, connection, found, servers, patience)
                }
                return meet(client, connection, found, servers, patience)
            case .description(let id, let description) where description.type == .offer:
                let connection = try loop.connection(configure(.controlled, servers))
                let offer = Found(peer: id, isAnswer: false, code: try PeerCode(lines: description.sdp))
                return answer(client, connection, offer, servers, patience)
            case .error(_, let text, _): throw PeerError(said: text)
            default: continue
            }
        }
        throw PeerError("the signaling server was lost")
    }

    /// Who has answered our offer, or has made one, with the candidates that have overtaken that.
    private struct Found: Sendable {
        let peer: String
        let isAnswer: Bool
        let code: PeerCode
    }

    private static func answer(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        _ offer: Found,
        _ servers: [ICEServer],
        _ patience: Duration
    ) -> Meeting {
        let own = PeerCode(connection.localDescription, [])
        client.send(.description(to: offer.peer, SessionDescription(type: .answer, sdp: own.lines)))
        connection.gather()
        return meet(client, connection, offer, servers, patience)
    }

    private static func meet(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        _ other: Found,
        _ servers: [ICEServer],
        _ patience: Duration
    ) -> Meeting {
        connection.setRemoteDescription(other.code.description)
        for candidate in other.code.candidates { connection.addRemoteCandidate(candidate) }
        let (departure, news) = AsyncStream<Void>.makeStream()
        return Meeting(
            connection: connection,
            isOfferer: other.isAnswer,
            peer: other.code.description,
            servers: servers,
            signaling: .init(
                client: client,
                task: Task { await signal(client, connection, other.peer, news) },
                departure: departure
            ),
            patience: patience
        )
    }

    /// Offers to one after the other; the first answer, or the first offer that comes meanwhile.
    private static func offer(
        _ client: SignalingClient,
        _ connection: ICEConnection,
        to peers: [String],
        within patience: Duration
    ) async throws -> Found {
        try await withThrowingTaskGroup(of: Found.self) { group in
            // One task hears everything: a stream ends with the first task that is cancelled while it listens.
            group.addTask { try await reply(client, peers) }
            group.addTask {
                let end = ContinuousClock.now + patience
                let sdp = PeerCode(connection.localDescription, []).lines
                for peer in peers {
                    client.send(.description(to: peer, SessionDescription(type: .offer, sdp: sdp)))
                    if peer != peers.last { try await Task.sleep(for: patience / max(8, peers.count)) }
                }
                try await Task.sleep(until: end)
                throw PeerError(
                    "the other end does not answer: it has ended, or is no other 'floe' of this command; run both ends again"
                )
            }
            defer { group.cancelAll() }
            guard let found = try await group.next() else { throw PeerError("nothing has come") }
            return found
        }
    }

    /// The first answer of those to whom is offered in this order, or anybody's offer.
    private static func reply(_ client: SignalingClient, _ peers: [String]) async throws -> Found {
        var early: [String: [Candidate]] = [:]
        var present = Set(peers)
        for await message in client.messages {
            switch message {
            case .description(let peer, let description) where description.type == .answer && peers.contains(peer):
                let code = try PeerCode(lines: description.sdp)
                return Found(peer: peer, isAnswer: true, code: PeerCode(code.description, early[peer] ?? []))
            case .description(let peer, let description) where description.type == .offer:
                // Others in the room may speak of something else.
                guard let code = try? PeerCode(lines: description.sdp) else { continue }
                return Found(peer: peer, isAnswer: false, code: PeerCode(code.description, early[peer] ?? []))
            case .candidate(let peer, let candidate):
                guard peers.contains(peer), early[peer, default: []].count < 100 else { continue }
                if let candidate = candidate.flatMap({ try? Candidate(text: $0.candidate) }) {
                    early[peer, default: []].append(candidate)
                }
            case .peerLeft(let peer, _): present.remove(peer)
            // Our first numbered messages are the offers.
            case .error(.unknownPeer, _, let number?) where number >= 1 && number <= UInt64(peers.count):
                present.remove(peers[Int(number) - 1])
            case .error(_, let text, _): throw PeerError(said: text)
            default: continue
            }
            if present.isEmpty { throw PeerError("the other end has gone: run both ends again") }
        }
        throw PeerError("the signaling server was lost")
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
