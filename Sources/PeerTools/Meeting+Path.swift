import ICE
import ICETransport

extension Meeting {
    /// What came of waiting for a path.
    public enum PathOutcome: Hashable, Sendable {
        /// Data can flow.
        case connected
        /// There is no path; the sentence says what is known of it beside the connection's verdict, if anything.
        case failed(String?)
        /// The caller's task was cancelled.
        case cancelled
    }

    /// Waits until data can flow, the connection has failed, or the other end is lost.
    ///
    /// An end that has gone without a word is never heard to have no more candidates, so that ICE would wait on for them.
    public func path() async -> PathOutcome {
        let outcome = await withTaskGroup(of: PathOutcome?.self) { group in
            group.addTask {
                for await state in connection.states {
                    switch state {
                    case .connected, .completed: return .connected
                    case .failed, .closed: return .failed(nil)
                    case .new, .checking, .disconnected: continue
                    }
                }
                return Task.isCancelled ? nil : .failed(nil)
            }
            if let departure = signaling?.departure {
                group.addTask {
                    for await _ in departure { return .failed(Self.departed) }
                    return nil
                }
            }
            if let patience {
                group.addTask { (try? await Task.sleep(for: patience)) == nil ? nil : .failed(Self.silent(patience)) }
            }
            var outcome: PathOutcome?
            while outcome == nil, let next = await group.next() { outcome = next }
            group.cancelAll()
            return outcome
        }
        return outcome ?? .cancelled
    }

    static let departed = "The other end has gone before there was a path: run both ends again."

    static func silent(_ patience: Duration) -> String {
        "No path to the other end was found in \(patience.components.seconds) seconds: it has ended, or lost its network. "
            + "Run both ends again."
    }
}
