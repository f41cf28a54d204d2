import Bytes
import NetTypes

/// Why bytes are no recording of an agent.
public enum ReplayError: Error, Hashable, Sendable {
    /// They do not begin as a recording does.
    case notARecording
    /// They end in the middle of a record.
    case truncated
    /// A record that cannot be read.
    case badRecord
}

extension ICEAgent {
    private static let magic: UInt32 = 0x4943_4503

    /// All that went into the agent and came out of it since its beginning; `nil` unless the configuration asks for it.
    ///
    /// It holds the passwords and every datagram: it is as secret as they are.
    public func recording() -> [UInt8]? {
        guard let journal, let tape = entropy.tape else { return nil }
        var writer = RecordWriter()
        writer.write(Self.magic)
        writer.write(configuration)
        writer.write(recordedCredentials != nil)
        if let recordedCredentials { writer.write(recordedCredentials) }
        writer.write(UInt32(tape.count))
        for word in tape { writer.write(word) }
        return writer.bytes + journal.writer.bytes
    }

    /// Lives the life of a recorded agent again and returns the recording of the new one: the same bytes (Documentation).
    ///
    /// - Throws: `ReplayError` if the bytes are no recording.
    public static func replay(_ recording: [UInt8]) throws(ReplayError) -> [UInt8] {
        let bytes = recording.span
        var reader = RecordReader(bytes)
        guard try reader.number(UInt32.self) == magic else { throw .notARecording }
        let configuration = try reader.configuration()
        let credentials = try reader.flag() ? try reader.credentials() : nil
        let count = Int(try reader.number(UInt32.self))
        guard count <= bytes.count / 8 else { throw .truncated }
        var words: [UInt64] = []
        for _ in 0..<count { words.append(try reader.number(UInt64.self)) }
        var agent = ICEAgent(
            configuration,
            credentials: credentials,
            tag: .none,
            words: AgentEntropy(replaying: words),
            at: .zero
        )
        while !reader.isAtEnd { try agent.apply(&reader) }
        return agent.recording() ?? []
    }

    /// Reads one record and does what it says.
    private mutating func apply(_ reader: inout RecordReader) throws(ReplayError) {
        guard let kind = RecordKind(rawValue: try reader.byte()) else { throw .badRecord }
        let now = try reader.instant()
        switch kind {
        case .addLocalCandidate:
            let candidate = try reader.localCandidate()
            _ = addLocalCandidate(candidate, base: try reader.base(), at: now)
        case .localGatheringDone: localGatheringDone(at: now)
        case .setRemoteDescription: _ = setRemoteDescription(try reader.description(), at: now)
        case .addRemoteCandidate: _ = addRemoteCandidate(try reader.candidate(), at: now)
        case .endOfRemoteCandidates:
            let fragment = try reader.text()
            endOfRemoteCandidates(usernameFragment: fragment.isEmpty ? nil : fragment, at: now)
        case .removeRemoteCandidate: removeRemoteCandidate(try reader.candidate(), at: now)
        case .removeLocalCandidate: removeLocalCandidate(try reader.candidate(), at: now)
        case .removeBase: removeBase(try reader.base(), at: now)
        case .restart: _ = restart(at: now)
        case .close: close(at: now)
        case .revokeConsent: revokeConsent(component: try reader.number(UInt16.self), at: now)
        case .sendFailed:
            let (base, destination) = (try reader.base(), try reader.optionalAddress())
            sendFailed(on: base, to: destination, try reader.failure(), at: now)
        case .connected:
            let attempt = try reader.number(UInt32.self)
            let base = try reader.base()
            connected(attempt: attempt, connection: base, from: try reader.address(), at: now)
        case .connectFailed: connectFailed(attempt: try reader.number(UInt32.self), at: now)
        case .accepted:
            let (connection, listener) = (try reader.base(), try reader.base())
            _ = accepted(connection: connection, on: listener, from: try reader.address(), at: now)
        case .noteServerRoundTrip: noteServerRoundTrip(try reader.span(), at: now)
        case .note: note(try reader.fact())
        case .handleTimeout: handleTimeout(at: now)
        case .receive:
            let (base, source, bytes) = (try reader.base(), try reader.address(), try reader.bytes())
            _ = receive(bytes.span, on: base, from: source, at: now)
        case .poll:
            var pacer = CheckPacer(interval: try reader.span(), next: try reader.instant())
            _ = buildBytes(capacity: 1500) { output in
                _ = pollTransmit(at: now, pacer: &pacer, into: &output)
            }
        case .transmit:
            // What the poll in front of it has written again.
            _ = (try reader.base(), try reader.address(), try reader.bytes())
        case .event:
            _ = try reader.text()
            _ = pollEvent()
        }
    }
}
