public import NetTypes
import SignalingMessages

/// What waits for its time in the engine's queue.
enum TimerToken: Hashable, Sendable {
    /// A connection that is silent.
    case connection(UInt64)
    /// A session whose ICE servers age, or whose peer is away.
    case session(UInt64)
    /// A session whose client must be told what has arrived.
    case acknowledgement(UInt64)
}

extension SignalingEngine {
    /// Does what is due at `now`; to be called when `nextTimeout` has passed, harmless otherwise.
    public mutating func handleTimeout(at now: Instant) {
        while let token = timers.pop(at: now) {
            switch token {
            case .connection(let id): handleTimeout(connection: id, at: now)
            case .session(let key): handleTimeout(session: key, at: now)
            case .acknowledgement(let key):
                guard let session = sessions[key], let connection = session.connection,
                    let due = session.acknowledgementDue, due <= now
                else { continue }
                send(.acknowledge, to: connection)
            }
        }
    }

    /// Queues a token, unless an earlier entry of the same object will look at the deadline anyway.
    mutating func schedule(_ token: TimerToken, at deadline: Instant) {
        switch token {
        case .connection(let id):
            guard let index = connections.index(forKey: id), deadline < connections.values[index].scheduled else {
                return
            }
            connections.values[index].scheduled = deadline
        case .session(let key):
            guard let index = sessions.index(forKey: key), deadline < sessions.values[index].scheduled else { return }
            sessions.values[index].scheduled = deadline
        case .acknowledgement: break
        }
        timers.push(token, at: deadline)
        if timers.count > 4 * (connections.count + sessions.count) + 1024 { rebuildTimers() }
    }

    private mutating func handleTimeout(connection id: UInt64, at now: Instant) {
        guard let index = connections.index(forKey: id), connections.values[index].scheduled <= now else { return }
        connections.values[index].scheduled = .distantFuture
        let deadline = connections.values[index].deadline
        guard deadline <= now else { return schedule(.connection(id), at: deadline) }
        close(id, .timeout, "Nothing was heard in time.", at: now)
    }

    private mutating func handleTimeout(session key: UInt64, at now: Instant) {
        guard let index = sessions.index(forKey: key), sessions.values[index].scheduled <= now else { return }
        sessions.values[index].scheduled = .distantFuture
        let deadline = sessions.values[index].deadline
        guard deadline <= now else { return schedule(.session(key), at: deadline) }
        if sessions.values[index].connection == nil {
            awaySessions -= 1
            end(key, .timeout)
        } else {
            refreshICEServers(key, at: now)
        }
    }

    /// Drops the entries of connections and sessions that are gone, so that the queue stays as large as they are.
    private mutating func rebuildTimers() {
        timers = DeadlineQueue()
        for index in connections.indices {
            connections.values[index].scheduled = connections.values[index].deadline
            timers.push(.connection(connections.keys[index]), at: connections.values[index].deadline)
        }
        for index in sessions.indices {
            sessions.values[index].scheduled = sessions.values[index].deadline
            timers.push(.session(sessions.keys[index]), at: sessions.values[index].deadline)
            guard let due = sessions.values[index].acknowledgementDue else { continue }
            timers.push(.acknowledgement(sessions.keys[index]), at: due)
        }
    }
}
