public import Diagnostics
public import SignalingMessages

/// What the engine has counted, and how much it holds now.
public struct SignalingStatistics: Hashable, Sendable {
    /// How many connections are open.
    public internal(set) var connections = 0
    /// How many sessions there are, those of absent peers included.
    public internal(set) var sessions = 0
    /// How many sessions have no connection now.
    public internal(set) var awaySessions = 0
    /// How many rooms there are.
    public internal(set) var rooms = 0
    /// How many bytes of unacknowledged messages are kept.
    public internal(set) var replayBytes = 0
    /// Messages that were understood, by their type.
    public internal(set) var received: [String: UInt64] = [:]
    /// Messages that were sent, by their type.
    public internal(set) var sent: [String: UInt64] = [:]
    /// Messages that were refused, by the code.
    public internal(set) var errors: [SignalingErrorCode: UInt64] = [:]
    /// Connections that the server has closed, by the code.
    public internal(set) var closes: [SignalingCloseCode: UInt64] = [:]
    /// Sequenced messages that had come before.
    public internal(set) var duplicates: UInt64 = 0
    /// Messages of connections that the engine does not know, such as those on their way when it closed them.
    public internal(set) var strays: UInt64 = 0
    /// Sessions that were taken up again with all messages.
    public internal(set) var resumesComplete: UInt64 = 0
    /// Sessions that were taken up again after messages were lost.
    public internal(set) var resumesLost: UInt64 = 0
    /// How often clients got no ICE servers because the host they named is none.
    public internal(set) var unusableHosts: UInt64 = 0

    /// Adds everything to a page of metrics, under names that begin with `floe_signaling_`.
    public func write(to page: inout MetricsText) {
        page.add(.gauge, "floe_signaling_connections", "Open signaling connections.", UInt64(connections))
        page.add(.gauge, "floe_signaling_sessions", "Sessions, absent peers included.", UInt64(sessions))
        page.add(.gauge, "floe_signaling_sessions_away", "Sessions without a connection.", UInt64(awaySessions))
        page.add(.gauge, "floe_signaling_rooms", "Rooms with at least one peer.", UInt64(rooms))
        page.add(.gauge, "floe_signaling_replay_bytes", "Bytes of unacknowledged messages.", UInt64(replayBytes))
        page.add(
            .counter,
            "floe_signaling_received_total",
            "Messages received, by type.",
            label: "type",
            ClientMessage.typeNames.map { ($0, received[$0] ?? 0) }
        )
        page.add(
            .counter,
            "floe_signaling_sent_total",
            "Messages sent, by type.",
            label: "type",
            ServerMessage.typeNames.map { ($0, sent[$0] ?? 0) }
        )
        page.add(
            .counter,
            "floe_signaling_errors_total",
            "Messages refused, by code.",
            label: "code",
            SignalingErrorCode.all.map { ($0.rawValue, errors[$0] ?? 0) }
        )
        page.add(
            .counter,
            "floe_signaling_closes_total",
            "Connections closed by the server, by code.",
            label: "code",
            SignalingCloseCode.all.map { ("\($0.rawValue)", closes[$0] ?? 0) }
        )
        page.add(
            .counter,
            "floe_signaling_resumes_total",
            "Sessions taken up again.",
            label: "replay",
            [("complete", resumesComplete), ("lost", resumesLost)]
        )
        page.add(.counter, "floe_signaling_duplicates_total", "Sequenced messages seen before.", duplicates)
        page.add(.counter, "floe_signaling_strays_total", "Messages of unknown connections.", strays)
        page.add(
            .counter,
            "floe_signaling_unusable_hosts_total",
            "Hosts no ICE server can be named for.",
            unusableHosts
        )
    }
}
