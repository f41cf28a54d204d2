import Bytes
import ICE
import NetTypes
import STUN
import TURN

/// What NATs hold for candidates of ours is kept until ICE has completed (RFC 8445 §5.1.1.4, §8.3; ice 16).
extension ICESession {
    /// Whether a candidate may still be wanted: once pairs are selected, their paths keep themselves alive.
    private var needsKeepalive: Bool {
        !isClosing && agent.state != .failed && selected.count < configuration.ice.componentCount
    }

    /// Plans the next round, unless there is one or nothing to keep; one timer serves all bindings.
    mutating func planKeepalive(at now: Instant) {
        guard !isKeepingAlive, needsKeepalive, hasBindings else { return }
        isKeepingAlive = true
        // A fifth more or less by chance, as consent checks have it: sessions of one moment do not stay in step.
        let middle = min(max(configuration.deadlines.bindingRefresh, .seconds(1)), .seconds(3600))
        let span = TimeSpan(nanoseconds: middle.nanoseconds / 1000 * (800 + entropy.next() % 401))
        timers.push(.keepalive, at: now + span)
    }

    /// Asks servers once more, paced like all that is asked; the answers tell too whether a NAT has begun anew.
    ///
    /// Allocations over UDP are refreshed as often, which keeps the binding that they have told; by themselves they are
    /// only in time for the server.
    mutating func keepBindings(at now: Instant) {
        isKeepingAlive = false
        guard needsKeepalive else { return }
        for handle in queryHandles where hasBinding(query: handle) && !starts.contains(.query(handle)) {
            // A question that still waits is sent again by itself.
            guard queries.read(handle, { $0.client.nextTimeout == nil }) == true else { continue }
            starts.append(.query(handle))
            startAt = min(startAt, now)
        }
        for handle in relayHandles where hasBinding(relay: handle) {
            _ = relays.update(handle) { $0.client.refresh(at: now) }
            mark(relay: handle)
        }
    }

    /// Whether a server has seen us behind a NAT.
    private func hasBinding(query handle: SlotHandle) -> Bool {
        guard let known = queries.read(handle, { (mapped: $0.mapped, host: $0.host) }), let mapped = known.mapped else {
            return false
        }
        return mapped != hosts[known.host].local
    }

    /// Whether an allocation depends on a way of datagrams.
    private func hasBinding(relay handle: SlotHandle) -> Bool {
        relays.read(handle) { !$0.isClosing && !$0.relayed.isEmpty && !$0.carrier.isStream } ?? false
    }

    private var hasBindings: Bool {
        for handle in queryHandles where hasBinding(query: handle) { return true }
        for handle in relayHandles where hasBinding(relay: handle) { return true }
        return false
    }
}
