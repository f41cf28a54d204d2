import Connectivity
import ICE
import NetTypes
import Simulation

/// The driver's duties: connections, through a proxy and with TLS if need be.
extension SimulatedSession {
    func connected(_ stream: StreamID, _ host: HostContext) {
        for key in mappers.keys.sorted() { mappers[key]?.connected(stream, host) }
        guard let pending = connecting[stream] else { return }
        if pending.tunnel != nil {
            let request = "CONNECT \(pending.target) HTTP/1.1\r\nHost: \(pending.target)\r\n\r\n"
            return host.write(Array(request.utf8), to: stream)
        }
        established(stream, pending, host)
    }

    private func established(_ stream: StreamID, _ pending: PendingConnection, _ host: HostContext) {
        if case .tls = pending.kind, wrappers[stream] == nil {
            let tls = SimulatedTLS(isClient: true)
            host.write(tls.opening(), to: stream)
            wrappers[stream] = tls
            return
        }
        connecting[stream] = nil
        guard let local = host.addresses(of: stream)?.local else { return }
        session?.connected(pending.id, base: newBase(.stream(stream)), local: local, at: host.now)
    }

    func receive(_ bytes: [UInt8], _ stream: StreamID, _ host: HostContext) {
        for key in mappers.keys.sorted() { mappers[key]?.receive(bytes, stream, host) }
        var bytes = bytes
        if var pending = connecting[stream], let tunnel = pending.tunnel {
            let head = tunnel + bytes
            guard head.suffix(4) == [13, 10, 13, 10] else {
                connecting[stream]?.tunnel = head
                return
            }
            guard String(decoding: head, as: UTF8.self).hasPrefix("HTTP/1.1 200") else { return host.abort(stream) }
            pending.tunnel = nil
            connecting[stream] = pending
            return established(stream, pending, host)
        }
        if wrappers[stream] != nil {
            guard let (data, reply) = wrappers[stream]?.receive(bytes) else { return host.abort(stream) }
            if !reply.isEmpty { host.write(reply, to: stream) }
            if let pending = connecting[stream], wrappers[stream]?.isOpen == true { established(stream, pending, host) }
            bytes = data
        }
        guard let base = baseOfStream[stream], !bytes.isEmpty else { return }
        session?.receiveStream(bytes.span, on: base, at: host.now)
    }

    func ended(_ stream: StreamID, _ end: StreamEnd, _ host: HostContext) {
        for key in mappers.keys.sorted() { mappers[key]?.ended(stream, host) }
        if let pending = connecting.removeValue(forKey: stream) {
            let failure: EffectFailure =
                switch end {
                case .refused: .refused
                case .timedOut: .timedOut
                case .unreachable: .unreachable
                case .finished, .reset: wrappers[stream] == nil ? .refused : .tlsFailed
                }
            wrappers[stream] = nil
            session?.failed(pending.id, failure, at: host.now)
        }
        guard let base = baseOfStream.removeValue(forKey: stream) else { return }
        endpoints[base.rawValue] = nil
        wrappers[stream] = nil
        session?.closed(base, at: host.now)
        host.finish(stream)
    }

    /// An event in words, for timelines.
    static func text(_ event: SessionEvent) -> String {
        switch event {
        case .candidate(let candidate):
            "candidate \(candidate.type.name) \(candidate.socketAddress.map(\.description) ?? "(name)")"
                + (candidate.transport == .tcp ? " tcp" : "")
        case .candidateRemoved(let candidate): "candidate gone: \(candidate.type.name)"
        case .goodEnough: "candidates are good enough"
        case .gatheringDone: "gathering done"
        case .stateChanged(let state): "state \(state)"
        case .pathChanged(_, let path?): "path to \(path.destination)\(path.isRelayed ? " through our relay" : "")"
        case .pathChanged(_, nil): "no path"
        case .selected(_, let path): "selected \(path.destination)\(path.isRelayed ? " through our relay" : "")"
        case .roleChanged(let role): "role \(role)"
        case .restartAdvised: "a restart is advised"
        case .serverFailed(let server, let carrier, let failure): "server \(server) over \(carrier): \(failure)"
        case .closed: "closed"
        }
    }
}
