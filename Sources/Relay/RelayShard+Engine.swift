import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// What the engine wants: responses sent, relay sockets opened and closed, events logged.
extension RelayShard {
    mutating func drainEngine(at now: Instant) {
        // Opening a socket gives the engine something to answer, so both are drained until neither has more.
        repeat {
            while let event = engine.pollEvent() { perform(event, at: now) }
        } while transmitResponses()
    }

    /// Sends the engine's responses; returns whether there were any.
    private mutating func transmitResponses() -> Bool {
        var bytes = response
        response = []
        defer { response = bytes }
        var sent = false
        while true {
            bytes.removeAll(keepingCapacity: true)
            var client: ClientTuple?
            bytes.append(addingCapacity: Self.responseBytes) { output in
                client = engine.pollTransmit(into: &output)?.client
            }
            guard let client else { return sent }
            sent = true
            if client.transport.isStream {
                writeControl(bytes.span, to: SlotHandle(bits: client.connection))
            } else if client.transport == .dtls {
                sendSecurely(bytes.span, to: client)
            } else if let route = route(to: client) {
                enqueue(copying: bytes.span, route)
            } else {
                drops.count(.noRoute)
            }
        }
    }

    static var responseBytes: Int { TURNServerEngine.maximumResponseByteCount }

    private mutating func perform(_ event: TURNServerEvent, at now: Instant) {
        switch event {
        case .openRelay(let request): openRelay(request, at: now)
        case .closeRelay(let token):
            let relay = SlotHandle(bits: token)
            // What is queued for the socket must go before its number goes to another one.
            if let name = relays.read(relay, { $0.name }) ?? nil, sends.holds(datagramsFor: name) {
                flushDatagrams(keepingPackets: true)
            }
            if packets.usesRing { packets.remove(token: Self.token(.relay, relay)) }
            guard let relay = relays.remove(relay) else {
                _ = relayListeners.remove(Self.listener(token))
                return
            }
            if let place = relay.place {
                let port = relay.local.port
                // Closed before anybody else may have the port.
                _ = consume relay
                return releaseRelay(port, of: place)
            }
            closedRelaysDrops &+= relay.name?.droppedDatagrams ?? 0
        case .openListener(let request): openRelayListener(request, at: now)
        case .connectPeer(let request): connectPeer(request, at: now)
        case .joinPeer(let id, let client): joinPeer(id, client, at: now)
        case .closePeer(let id):
            if let handle = peersByID[id] { closePeer(handle, at: now) }
        case .channelPathsChanged(let handle):
            fastFlows.suspend(handle)
            // Before the event that tells of an allocation's end is taken: then nobody knows any more whose bytes they were.
            if fastFlows.hasAllowance(handle), engine.channelPaths(of: handle, at: now).isEmpty {
                engine.giveBack(fastFlows.takeAllowance(of: handle), of: handle)
            }
        case .channelPathsExtended(let handle): fastFlows.extend(handle)
        case .clientJoined(let client): countAllocation(of: client, 1)
        case .clientLeft(let client): countAllocation(of: client, -1)
        case .allocationMoved(let summary, let old):
            logger.info(
                "Allocation moved.",
                [
                    "turn.user": .text(summary.user), "turn.client": .endpoint(summary.client.remote),
                    "turn.transport": .text("\(summary.client.transport)"), "turn.left": .endpoint(old.remote),
                ]
            )
        case .allocationCreated(let summary):
            countAllocation(of: summary.client, 1)
            logger.info(
                "Allocation made.",
                [
                    "turn.user": .text(summary.user), "turn.client": .endpoint(summary.client.remote),
                    "turn.transport": .text("\(summary.client.transport)"),
                    "turn.relayed": .text(summary.relayed.map(\.description).joined(separator: " ")),
                ]
            )
        case .allocationEnded(let summary, let end):
            countAllocation(of: summary.client, -1)
            logger.info(
                "Allocation ended.",
                [
                    "turn.user": .text(summary.user), "turn.client": .endpoint(summary.client.remote),
                    "turn.reason": .text(end.rawValue), "turn.seconds": .number(Int(summary.age.seconds)),
                    "turn.packets_to_peers": .number(Int(clamping: summary.traffic.packetsToPeers)),
                    "turn.packets_to_client": .number(Int(clamping: summary.traffic.packetsToClient)),
                    "turn.bytes_to_peers": .number(Int(clamping: summary.traffic.bytesToPeers)),
                    "turn.bytes_to_client": .number(Int(clamping: summary.traffic.bytesToClient)),
                ]
            )
        case .peerPermitted(let user, let client, let peer):
            logger.debug(
                "Peer permitted.",
                ["turn.user": .text(user), "turn.client": .endpoint(client.remote), "turn.peer": .address(peer)]
            )
        case .authenticationFailed(let client, let refusal):
            guard refusalLog.take(at: now) else { return refusalsUnsaid += 1 }
            logger.info(
                "Credentials refused.",
                [
                    "turn.client": .endpoint(client.remote), "turn.reason": .text(refusal.rawValue),
                    "turn.unsaid": .number(refusalsUnsaid),
                ]
            )
            refusalsUnsaid = 0
        }
    }

    private mutating func openRelay(_ request: RelayRequest, at now: Instant) {
        if let lookup = configuration.portLookup { return claimRelay(request, lookup, at: now) }
        var options = UDPSocket.Options()
        options.pathMTUDiscovery = .fragment
        options.reportsErrors = true
        options.mergesReceived = configuration.mergesDatagrams
        options.reportsTrafficClass = configuration.copiesTrafficClass
        options.reportsHopLimit = configuration.decrementsHopLimit
        options.receiveBufferBytes = configuration.relayBufferBytes
        do throws(SocketError) {
            let socket = try UDPSocket(boundTo: request.local, options: options)
            let name = socket.handle
            guard let handle = relays.insert(RelaySocket(socket, id: request.id)) else {
                return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
            }
            guard watch(name, token: Self.token(.relay, handle)) else {
                _ = relays.remove(handle)
                return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
            }
            engine.relayOpened(request.id, token: handle.bits, at: now)
        } catch {
            if !error.isAddressInUse { logger.warning("No relay socket.", ["error": .text("\(error)")]) }
            engine.relayOpenFailed(request.id, addressInUse: error.isAddressInUse, at: now)
        }
    }

    private mutating func watch(_ relay: UDPSocketHandle, token: UInt64) -> Bool {
        guard packets.usesRing else {
            return (try? poller.add(relay.descriptor, token: token, interest: .read)) != nil
        }
        return packets.watchErrors(of: relay, token: token) && packets.add(relay, token: token)
    }

    private mutating func countAllocation(of client: ClientTuple, _ change: Int) {
        if client.transport == .dtls {
            return countAllocation(ofAssociation: SlotHandle(bits: client.connection), change)
        }
        guard client.transport.isStream else { return }
        let handle = SlotHandle(bits: client.connection)
        guard streams.update(handle, { $0.allocations += change }) != nil else { return }
        scheduleStream(handle)
    }
}
