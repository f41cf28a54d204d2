public import Connectivity
public import ICE
public import ICETransport
public import SignalingMessages
import Synchronization

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
    /// The way over a server; `nil` where codes are all there is.
    let signaling: Signaling?
    /// How long there may be no path; `nil` where a person has yet to carry our code to the other end.
    var patience: Duration?

    /// What goes on over a server until the connection ends.
    struct Signaling: Sendable {
        let client: SignalingClient
        let task: Task<Void, Never>
        /// One element when the other end has said that it goes.
        let departure: AsyncStream<Void>
    }

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
        signaling?.task.cancel()
        // Both take a moment, and neither waits for the other.
        async let left: Void? = signaling?.client.end()
        await connection.close()
        await left
    }
}

/// Brings two peers together, by codes or over a signaling server.
public enum Meetings {
    /// How long an end that is there may say nothing, and how long there may be no path to it.
    ///
    /// Above the 39.5 s of RFC 8863 §4, within which ICE does not call a connection failed either.
    public static let patience = Duration.seconds(40)

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
        return Meeting(
            connection: connection,
            isOfferer: true,
            peer: peer.description,
            servers: [],
            signaling: nil,
            patience: patience
        )
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
        return Meeting(
            connection: connection,
            isOfferer: false,
            peer: peer.description,
            servers: [],
            signaling: nil,
            patience: nil
        )
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
}

/// What one task tells another.
private final class Flag: Sendable {
    let value = Atomic(false)
}
