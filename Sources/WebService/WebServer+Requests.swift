import Bytes
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import Signaling
import SignalingMessages
import Transport
import WebSocket

/// What clients want: requests answered, WebSockets opened, their messages handed to the signaling engine.
extension WebServer {
    mutating func performEvents(of handle: SlotHandle, at now: Instant) {
        while let event = connections.update(handle, { $0.stage.pollEvent() }) ?? nil {
            switch event {
            case .http(.request(let request)): answer(request, handle, at: now)
            case .http(.dropped(let reason)):
                statistics.requestDrops.count(reason)
                // It has had its time to read: what waits for it is of no use.
                if reason == .responseTimeout { remove(handle, at: now) }
            case .webSocket(let event): perform(event, handle, at: now)
            }
        }
    }

    private mutating func answer(_ request: HTTPRequest, _ handle: SlotHandle, at now: Instant) {
        guard let (remote, isTLS) = connections.read(handle, { ($0.remote.ip, $0.isTLS) }) else { return }
        let action = router.route(
            request,
            from: RequestOrigin(remote: remote, isTLS: isTLS),
            unixSeconds: EventLoop.WallClock.unixSeconds(),
            metrics: { metricsText() }
        )
        switch action {
        case .respond(let response): respond(response, handle, at: now)
        case .openSignaling(let host): openSignaling(request, host: host, handle, at: now)
        }
        logger.debug(
            "Request.",
            ["http.path": .text(request.target.path), "http.client": .address(remote)]
        )
    }

    private mutating func respond(_ response: HTTPResponse, _ handle: SlotHandle, at now: Instant) {
        statistics.responses[response.status.rawValue / 100, default: 0] += 1
        _ = connections.update(handle) { connection in connection.stage.withHTTP { $0.respond(response, at: now) } }
    }

    private mutating func openSignaling(_ request: HTTPRequest, host: String?, _ handle: SlotHandle, at now: Instant) {
        let accepted: WebSocketHandshake.Accepted
        do throws(WebSocketHandshakeError) {
            accepted = try WebSocketHandshake.accept(
                request,
                subprotocols: [signalingSubprotocol],
                requiresSubprotocol: true
            )
        } catch {
            let isTLS = connections.read(handle) { $0.isTLS } ?? false
            return respond(router.finish(error.response, to: request, isTLS: isTLS), handle, at: now)
        }
        respond(accepted.response, handle, at: now)
        var limits = WebSocketLimits()
        limits.messageBytes = configuration.signaling.messageBytes
        // A client that is handed a full replay at once must not be taken for one that does not read.
        limits.queuedBytes = 2 << 20
        _ = connections.update(handle) { connection in
            let rest = connection.stage.withHTTP { http in
                // The 101 is written out first: the connection's output belongs to the WebSocket from then on.
                var head: [UInt8] = []
                head.append(addingCapacity: 4096) { _ = http.pollTransmit(at: now, into: &$0) }
                return (head, http.takeUpgradedBytes())
            }
            guard let (head, early) = rest else { return }
            _ = connection.stream.write(head.span)
            connection.stage = .webSocket(WebSocketConnection(role: .server, limits: limits))
            connection.signalingID = handle.bits
            if !early.isEmpty { connection.stage.receive(early.span, at: now) }
        }
        // Loopback is also where a proxy comes from, with everybody behind it.
        let source = connections.read(handle) { $0.remote.ip.isLoopback ? nil : $0.prefix }
        signaling.connectionOpened(handle.bits, host: host, source: source ?? nil, at: now)
    }

    private mutating func perform(_ event: WebSocketEvent, _ handle: SlotHandle, at now: Instant) {
        switch event {
        case .text(let text): signaling.receive(text, from: handle.bits, at: now)
        case .binary: signaling.receiveNonText(from: handle.bits, at: now)
        case .ping, .pong: break
        case .closed(let code, _):
            if code == .messageTooBig { signaling.receiveOversized(from: handle.bits, at: now) }
            signaling.connectionClosed(handle.bits, at: now)
            // Nobody will read what waits: the client is gone, or has not answered a close.
            if code == .abnormal { remove(handle, at: now) }
        }
    }

    func metricsText() -> String {
        var page = MetricsText()
        page.add(.gauge, "floe_http_connections", "Open connections to the web service.", UInt64(connections.count))
        let waiting = UInt64(clamping: queuedBytes)
        page.add(.gauge, "floe_http_queued_bytes", "Bytes that wait for clients to read.", waiting)
        page.add(.gauge, "floe_http_half_open", "Connections that have not said anything yet.", UInt64(lobby.count))
        statistics.write(to: &page, lobby: lobby.drops)
        signaling.statistics.write(to: &page)
        externalMetrics(&page)
        return page.text
    }
}
