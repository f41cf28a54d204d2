import Bytes
import NetTypes
import SignalingMessages

extension SignalingEngine {
    mutating func emit(_ event: SignalingEvent) { _ = events.append(event) }

    mutating func emitClose(_ connection: UInt64, _ code: SignalingCloseCode, _ reason: String) {
        counters.closes[code, default: 0] += 1
        _ = transmits.append(.close(connection, code, reason: reason))
    }

    private mutating func emitText(_ text: String, _ message: ServerMessage, to connection: UInt64) {
        counters.sent[message.typeName, default: 0] += 1
        _ = transmits.append(.text(text, to: connection))
    }

    /// Sends a message that is not sequenced, with an acknowledgement if one is owed.
    mutating func send(_ message: ServerMessage, to connection: UInt64) {
        var acknowledged: UInt64?
        if let key = connections[connection]?.session, let index = sessions.index(forKey: key) {
            if sessions.values[index].acknowledgementDue != nil || message == .acknowledge {
                acknowledged = sessions.values[index].received
                sessions.values[index].acknowledged = sessions.values[index].received
                sessions.values[index].acknowledgementDue = nil
            }
        }
        emitText(ServerFrame(message, acknowledged: acknowledged).text, message, to: connection)
    }

    /// Sends `joined` or `resumed`; the latter always acknowledges.
    mutating func sendWelcome(_ message: ServerMessage, acknowledged: UInt64?, to connection: UInt64) {
        emitText(ServerFrame(message, acknowledged: acknowledged).text, message, to: connection)
    }

    /// Numbers a message, keeps it for a resume, and sends it if the peer is there.
    mutating func deliver(_ message: ServerMessage, to key: UInt64) {
        guard let index = sessions.index(forKey: key) else { return }
        let connection = sessions.values[index].connection
        // Nobody will ever ask for it: an absent peer whose history was given up starts anew.
        guard connection != nil || sessions.values[index].replay.isComplete else { return }
        let text = ServerFrame(message, sequence: sessions.values[index].replay.next).text
        let room = limits.totalReplayBytes - replayBytes
        let limits = limits
        changeReplay(key) { $0.append(text, limits: limits, room: room) }
        if let connection { emitText(text, message, to: connection) }
    }

    /// Sends again what was sent before.
    mutating func replay(_ texts: ArraySlice<String>, to connection: UInt64) {
        for text in texts { _ = transmits.append(.text(text, to: connection)) }
    }

    /// Changes the history of a session and keeps the sum over all sessions.
    @discardableResult
    mutating func changeReplay<Result>(_ key: UInt64, _ body: (inout ReplayQueue) -> Result) -> Result? {
        guard let index = sessions.index(forKey: key) else { return nil }
        let before = sessions.values[index].replay.byteCount
        let result = body(&sessions.values[index].replay)
        replayBytes += sessions.values[index].replay.byteCount - before
        return result
    }

    /// Refuses a message with a sentence for people, and closes the connection if the code demands it.
    mutating func refuse(
        _ connection: UInt64,
        _ code: SignalingErrorCode,
        _ message: String,
        sequence: UInt64? = nil,
        at now: Instant
    ) {
        counters.errors[code, default: 0] += 1
        emit(.refused(connection: connection, code))
        send(.error(code, message: message, sequence: sequence), to: connection)
        if let closeCode = code.closeCode { close(connection, closeCode, code.rawValue, at: now) }
    }

    /// Closes a connection and forgets it; its session ends or goes away, as the code has it.
    mutating func close(_ id: UInt64, _ code: SignalingCloseCode, _ reason: String, at now: Instant) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        emitClose(id, code, reason)
        guard let key = connection.session else { return }
        if code.endsSession { end(key, .expelled) } else { sendAway(key, at: now) }
    }
}

extension SignalingErrorCode {
    /// With which code the connection is closed after the error, or `nil` if it stays open.
    var closeCode: SignalingCloseCode? {
        switch self {
        case .badMessage: .badMessage
        case .notJoined: .notJoined
        case .unsupportedVersion: .unsupportedVersion
        case .sequenceGap: .sequenceGap
        case .tooLarge: .tooLarge
        case .rateLimited: .rateLimited
        default: nil
        }
    }
}
