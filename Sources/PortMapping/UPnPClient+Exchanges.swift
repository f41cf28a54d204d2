import Bytes
import HTTP
import NetTypes

/// Requests to the gateway over connections, one at a time, and what its answers mean.
extension UPnPClient {
    private static let conflictLimit = 4
    private static let permanentRenewal: UInt32 = 1800
    private static let onlyPermanentLeases: UInt32 = 725
    private static let conflictInMapping: UInt32 = 718

    mutating func next(at now: Instant) {
        guard exchange == nil, !entries.isEmpty, let location else { return }
        guard let service else { return begin(.describe, UPnPText.get(location), to: location, at: now) }
        let due = entries.keys.sorted().first { (entries[$0]?.dueAt ?? .distantFuture) <= now }
        guard let id = due, let entry = entries[id] else { return }
        if entry.isDeleting {
            let arguments = [("NewRemoteHost", ""), ("NewExternalPort", "\(entry.externalPort)")]
            let rest = [("NewProtocol", entry.request.transport == .udp ? "UDP" : "TCP")]
            return call(.delete(id), "DeletePortMapping", arguments + rest, service, at: now)
        }
        guard external != nil else { return call(.address, "GetExternalIPAddress", [], service, at: now) }
        call(
            .add(id),
            usesAny(entry, service.type) ? "AddAnyPortMapping" : "AddPortMapping",
            [
                ("NewRemoteHost", ""), ("NewExternalPort", "\(entry.externalPort)"),
                ("NewProtocol", entry.request.transport == .udp ? "UDP" : "TCP"),
                ("NewInternalPort", "\(entry.request.internalPort)"), ("NewInternalClient", "\(configuration.client)"),
                ("NewEnabled", "1"), ("NewPortMappingDescription", configuration.label),
                ("NewLeaseDuration", "\(wantsPermanent ? 0 : configuration.lifetimeSeconds)"),
            ],
            service,
            at: now
        )
    }

    /// Version 2 gives another port if the one wished for is taken; to renew, the one granted is named.
    private func usesAny(_ entry: Entry, _ type: String) -> Bool {
        knowsAny && type == UPnPText.serviceTypes[0] && entry.lease == nil
    }

    private mutating func call(
        _ job: Job,
        _ action: String,
        _ arguments: [(String, String)],
        _ service: (type: String, control: GatewayURL),
        at now: Instant
    ) {
        let request = UPnPText.call(action, service.type, arguments, at: service.control)
        begin(job, request, to: service.control, at: now)
    }

    private mutating func begin(_ job: Job, _ request: [UInt8], to url: GatewayURL, at now: Instant) {
        let stream = PortMapperStream(rawValue: nextStream)
        nextStream &+= 1
        exchange = Exchange(
            job: job,
            stream: stream,
            request: request,
            parser: HTTPResponseParser(limits: UPnPText.limits),
            deadline: now + configuration.exchangeTime
        )
        actions.append(.open(stream, to: url.address))
    }

    mutating func abandon() {
        if let exchange { actions.append(.close(exchange.stream)) }
        exchange = nil
    }

    mutating func streamOpened(_ stream: PortMapperStream) -> PortMapperDrop? {
        guard let exchange, exchange.stream == stream else { return .unknownStream }
        actions.append(.send(stream, exchange.request))
        return nil
    }

    mutating func streamReceived(
        _ stream: PortMapperStream,
        _ bytes: Span<UInt8>,
        at now: Instant,
        using entropy: inout Entropy
    ) -> PortMapperDrop? {
        guard exchange?.stream == stream else { return .unknownStream }
        do throws(HTTPDropReason) {
            guard let response = try exchange?.parser.receive(bytes) else { return nil }
            finish(response, at: now, using: &entropy)
            return nil
        } catch {
            lose(.malformedAnswer, at: now, using: &entropy)
            return .malformed
        }
    }

    mutating func streamClosed(
        _ stream: PortMapperStream,
        at now: Instant,
        using entropy: inout Entropy
    ) -> PortMapperDrop? {
        guard exchange?.stream == stream else { return .unknownStream }
        // An answer without a length ends where the stream does.
        if let response = (try? exchange?.parser.receiveEnd()) ?? nil {
            finish(response, at: now, using: &entropy)
        } else {
            lose(.connectionLost, at: now, using: &entropy)
        }
        return nil
    }

    private mutating func finish(
        _ response: HTTPResponseParser.Response,
        at now: Instant,
        using entropy: inout Entropy
    ) {
        guard let job = exchange?.job else { return }
        abandon()
        defer { next(at: now) }
        guard response.status == .ok else {
            let code = XMLScanner.text("errorCode", in: response.body[...]).flatMap { UInt32($0) }
            return refused(job, code ?? UInt32(response.status.rawValue), at: now, using: &entropy)
        }
        switch job {
        case .describe: described(response.body)
        case .address: addressed(response.body)
        case .add(let id): added(id, response.body, at: now, using: &entropy)
        case .delete(let id):
            entries[id] = nil
            events.append(.deleted(id))
        }
    }

    // MARK: Answers

    private mutating func described(_ body: [UInt8]) {
        guard let location else { return }
        service = UPnPText.service(in: body, at: location)
        if service == nil { failAll(.notSupported) }
    }

    private mutating func addressed(_ body: [UInt8]) {
        let text = XMLScanner.text("NewExternalIPAddress", in: body[...])
        guard let ip = text.flatMap({ IPAddress($0) }),
            !ExternalAddress.isImpossible(SocketAddress(ip, port: 1), client: configuration.client)
        else { return failAll(.impossibleAnswer) }
        external = ip
    }

    private mutating func added(_ id: MappingID, _ body: [UInt8], at now: Instant, using entropy: inout Entropy) {
        guard let entry = entries[id], let external, let service else { return }
        if usesAny(entry, service.type) {
            let port = XMLScanner.text("NewReservedPort", in: body[...]).flatMap { UInt16($0) }
            guard let port, port != 0 else {
                entries[id] = nil
                return events.append(.failed(id, .malformedAnswer))
            }
            entries[id]?.externalPort = port
        }
        let seconds = wantsPermanent ? Self.permanentRenewal : configuration.lifetimeSeconds
        let lease = Lease(seconds: seconds, at: now, using: &entropy)
        entries[id]?.lease = lease
        entries[id]?.isPermanent = wantsPermanent
        entries[id]?.dueAt = lease.renewAt
        let address = SocketAddress(external, port: entries[id]?.externalPort ?? 0)
        events.append(.granted(id, external: address, lifetimeSeconds: wantsPermanent ? 0 : seconds))
    }

    private mutating func refused(_ job: Job, _ code: UInt32, at now: Instant, using entropy: inout Entropy) {
        switch job {
        case .describe, .address: failAll(.refused(code: code))
        case .delete(let id):
            entries[id] = nil
            events.append(.deleted(id))
        case .add(let id):
            guard let entry = entries[id] else { return }
            switch code {
            case Self.onlyPermanentLeases where !wantsPermanent: wantsPermanent = true
            case Self.conflictInMapping where entry.conflicts < Self.conflictLimit && entry.lease == nil:
                entries[id]?.conflicts += 1
                entries[id]?.externalPort = entry.externalPort == .max ? 1024 : entry.externalPort + 1
            case _ where usesAny(entry, service?.type ?? ""): knowsAny = false
            case _ where entry.lease != nil: postpone(id, at: now, using: &entropy)
            default:
                entries[id] = nil
                events.append(.failed(id, .refused(code: code)))
            }
        }
    }

    mutating func lose(_ failure: PortMappingFailure, at now: Instant, using entropy: inout Entropy) {
        guard let job = exchange?.job else { return }
        abandon()
        switch job {
        case .describe, .address: failAll(failure)
        case .delete(let id):
            entries[id] = nil
            events.append(.deleted(id))
        case .add(let id):
            if entries[id]?.lease != nil {
                postpone(id, at: now, using: &entropy)
            } else {
                entries[id] = nil
                events.append(.failed(id, failure))
            }
        }
        next(at: now)
    }

    private mutating func postpone(_ id: MappingID, at now: Instant, using entropy: inout Entropy) {
        guard var lease = entries[id]?.lease else { return }
        lease.schedule(at: now, using: &entropy)
        entries[id]?.lease = lease
        entries[id]?.dueAt = lease.renewAt
    }

    private mutating func failAll(_ failure: PortMappingFailure) {
        for id in entries.keys.sorted() where entries[id]?.lease == nil {
            entries[id] = nil
            events.append(.failed(id, failure))
        }
        location = nil
        service = nil
        searchesSent = 0
    }
}
