import Bytes
import Diagnostics
import NetTypes

/// What the protocols say, and what becomes of a mapping by it.
extension PortMapper {
    /// How long after one announcement the next makes failed mappings be asked for again.
    private static let retryPause = TimeSpan.seconds(10)

    mutating func receiveMessage(_ datagram: Span<UInt8>, at now: Instant) -> PortMapperDrop? {
        let wasUnsolicited: Bool
        let drop: PortMapperDrop?
        if let response = PCPMessage.readResponse(datagram) {
            if response.result == PCPResult.unsupportedVersion, response.version == PCPMessage.version {
                // A box that speaks PCP alone says so to NAT-PMP.
                natPMP.stopRequesting(at: now)
                for id in entries.keys.sorted() { note(id, .natPMP, .notSupported, at: now) }
                return nil
            }
            wasUnsolicited = response.opcode == PCPMessage.announce
            drop = pcp.receive(response, at: now, using: &entropy)
            if drop == nil, !pcp.isSupported {
                // It is an older box, which speaks NAT-PMP (RFC 6887 §9, ice 179): no reason to wait longer.
                for id in entries.keys.sorted() { startNATPMP(id, at: now) }
            }
        } else if let response = NATPMPMessage.readResponse(datagram) {
            wasUnsolicited = response.operation == 0
            drop = natPMP.receive(response, at: now, using: &entropy)
        } else {
            return .malformed
        }
        if wasUnsolicited, drop == nil { retryFailed(at: now) }
        return drop
    }

    /// A gateway that announces itself is asked again for what it did not give.
    private mutating func retryFailed(at now: Instant) {
        let failed = entries.keys.sorted().filter { entries[$0]?.mapping == nil && entries[$0]?.deadline == nil }
        guard !failed.isEmpty, now - (retriedAt ?? .zero) >= Self.retryPause || retriedAt == nil else { return }
        retriedAt = now
        for id in failed { begin(id, at: now) }
    }

    /// Takes what the protocols have to send and to tell.
    mutating func collect(at now: Instant) {
        var isDone = false
        while !isDone {
            // A protocol may send and tell at once when it is started by what another has told.
            var events = Self.take(&pcp.events, .pcp)
            events += Self.take(&natPMP.events, .natPMP)
            events += Self.take(&upnp.events, .upnp)
            isDone = events.isEmpty
            for (name, event) in events { handle(event, of: name, at: now) }
        }
        let server = SocketAddress(
            configuration.gateway.ip,
            port: PCPClient.port,
            scope: configuration.gateway.scope
        )
        for bytes in pcp.outbox + natPMP.outbox { send(bytes, to: server) }
        for bytes in upnp.outbox { send(bytes, to: UPnPText.group) }
        for action in upnp.actions where !actions.append(action) { drops.count(.notTaken) }
        pcp.outbox = []
        natPMP.outbox = []
        upnp.outbox = []
        upnp.actions = []
        if isClosing, pcp.isIdle, natPMP.isIdle, upnp.isIdle { finishClosing() }
    }

    private static func take(
        _ events: inout [ClientEvent],
        _ name: PortMappingProtocol
    ) -> [(PortMappingProtocol, ClientEvent)] {
        defer { events = [] }
        return events.map { (name, $0) }
    }

    private mutating func handle(_ event: ClientEvent, of name: PortMappingProtocol, at now: Instant) {
        switch event {
        case .granted(let id, let external, let lifetime): grant(id, external, lifetime, name, at: now)
        case .failed(let id, let failure): note(id, name, failure, at: now)
        case .lost(let id, let failure): lose(id, name, failure, at: now)
        case .deleted, .restarted: break
        }
    }

    private mutating func grant(
        _ id: MappingID,
        _ external: SocketAddress,
        _ lifetime: UInt32,
        _ name: PortMappingProtocol,
        at now: Instant
    ) {
        guard let entry = entries[id], entry.mapping == nil || entry.mapping?.via == name else {
            // Another has been faster, or nobody wants it any more.
            switch name {
            case .pcp: pcp.delete(id, at: now)
            case .natPMP: natPMP.delete(id, at: now)
            case .upnp: upnp.delete(id, at: now)
            }
            return
        }
        let mapping = PortMapping(
            external: external,
            lifetimeSeconds: min(lifetime, Lease.longest),
            via: name,
            isBehindAnotherNAT: ExternalAddress.isPrivate(external.ip)
        )
        chosen = name
        entries[id]?.request.suggested = external
        entries[id]?.mapping = mapping
        entries[id]?.deadline = nil
        entries[id]?.natPMPAt = nil
        entries[id]?.pending = []
        if entry.mapping == nil { deleteEverywhere(id, at: now, except: name) }
        if entry.mapping?.external != external { tell(.mapped(id, mapping)) }
    }

    private mutating func note(
        _ id: MappingID,
        _ name: PortMappingProtocol,
        _ failure: PortMappingFailure,
        at now: Instant
    ) {
        guard entries[id]?.pending.remove(name) != nil else { return }
        entries[id]?.failures[name] = failure
        if name == .natPMP { entries[id]?.natPMPAt = nil }
        if entries[id]?.pending.isEmpty == true { fail(id, at: now) }
    }

    /// A mapping that is gone is asked for again from the beginning, of everyone.
    private mutating func lose(
        _ id: MappingID,
        _ name: PortMappingProtocol,
        _ failure: PortMappingFailure,
        at now: Instant
    ) {
        guard let entry = entries[id], entry.mapping?.via == name else { return }
        entries[id]?.mapping = nil
        if !entries.values.contains(where: { $0.mapping != nil }) { chosen = nil }
        tell(.lost(id, failure))
        begin(id, at: now)
    }
}
