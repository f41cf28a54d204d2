import NetTypes

/// Sockets: opening, sending, receiving.
extension SimulatedHost {
    func open(
        _ ipProtocol: IPProtocol,
        _ address: IPAddress?,
        _ port: UInt16,
        program: Int
    ) throws(SocketFailure) -> SocketID {
        let ip = address.map { $0.unmapped } ?? .unspecified(.ipv4)
        guard ip.isUnspecified || has(ip) else { throw .addressNotAvailable }
        let chosen = port == 0 ? freePort(ipProtocol, ip) : port
        let local = SocketAddress(ip, port: chosen)
        guard chosen != 0, bySocket[SocketKey(ipProtocol: ipProtocol, local: local)] == nil else {
            throw .addressInUse
        }
        sockets.append(UDPSocket(ipProtocol: ipProtocol, program: program, local: local))
        bySocket[SocketKey(ipProtocol: ipProtocol, local: local)] = sockets.count - 1
        return SocketID(index: sockets.count - 1)
    }

    /// A free port of the range that Linux takes them from; 0 if there is none.
    private func freePort(_ ipProtocol: IPProtocol, _ ip: IPAddress) -> UInt16 {
        let start = entropy.next() % 28_232
        for offset in 0..<28_232 as Range<UInt64> {
            let port = UInt16(32_768 + (start + offset) % 28_232)
            let key = SocketKey(ipProtocol: ipProtocol, local: SocketAddress(ip, port: port))
            if bySocket[key] == nil { return port }
        }
        return 0
    }

    func close(_ socket: SocketID) {
        guard let open = sockets[socket.index] else { return }
        sockets[socket.index] = nil
        bySocket[SocketKey(ipProtocol: open.ipProtocol, local: open.local)] = nil
    }

    private func has(_ ip: IPAddress) -> Bool {
        ip.isLoopback || interfaces.contains { $0.isUp && $0.addresses.contains { $0.ip == ip } }
    }

    /// The interface and the source address for a packet: by the source if it is chosen, else by the way there.
    func route(to destination: IPAddress, from source: IPAddress) -> (interface: HostInterface, source: IPAddress)? {
        if !source.isUnspecified {
            let owner = interfaces.first { $0.isUp && $0.addresses.contains { $0.ip == source } }
            return owner.map { ($0, source) }
        }
        let usable = interfaces.filter { interface in
            interface.isUp && interface.addresses.contains { $0.ip.family == destination.family }
        }
        let onLink = usable.first { $0.segment.prefix(destination.family)?.contains(destination) == true }
        guard let interface = onLink ?? usable.first else { return nil }
        // RFC 6724 in short: an address of the destination's scope, not deprecated, temporary before stable.
        let candidates = interface.addresses.filter { $0.ip.family == destination.family }
        let best = candidates.max { rank($0, destination) < rank($1, destination) }
        return best.map { (interface, $0.ip) }
    }

    private func rank(_ address: HostInterface.Address, _ destination: IPAddress) -> Int {
        if destination.isLinkLocal { return address.kind == .linkLocal ? 9 : 0 }
        let isUniqueLocal = destination.family == .ipv6 && destination.high >> 57 == 0xFC >> 1
        switch address.kind {
        case .uniqueLocal: return isUniqueLocal ? 8 : 2
        case .temporary: return 6
        case .stable: return 5
        case .deprecated: return 3
        case .linkLocal: return 1
        }
    }

    func send(_ packet: inout Packet) throws(SocketFailure) {
        if let failing = sendFailures, failing.count > 0 {
            sendFailures = failing.count == 1 ? nil : (failing.count - 1, failing.failure)
            throw failing.failure
        }
        let destination = packet.destination.ip.unmapped
        if destination != packet.destination.ip {
            packet.destination = SocketAddress(destination, port: packet.destination.port)
        }
        if destination.isLoopback || has(destination) {
            if packet.source.ip.isUnspecified { packet.source = SocketAddress(destination, port: packet.source.port) }
            network.deliver(packet, to: self, at: network.now)
            return
        }
        guard let (interface, source) = route(to: destination, from: packet.source.ip),
            source.family == destination.family
        else { throw .unreachable }
        packet.source = SocketAddress(source, port: packet.source.port)
        guard !packet.dontFragment || packet.byteCount <= network.mtu(of: interface.attachment) else {
            throw .tooLong
        }
        network.send(packet, on: interface.attachment)
    }

    // MARK: Receiving

    /// Takes a packet off the wire.
    func receive(_ packet: Packet) {
        guard !isAsleep else { return network.drop(packet, .hostAsleep, name) }
        let destination = packet.destination.ip
        guard destination.isMulticast || has(destination) else { return network.drop(packet, .interfaceDown, name) }
        switch packet.body {
        case .udp: receiveUDP(packet)
        case .tcp(let header): receiveTCP(packet, header)
        case .icmp(let message): receiveICMP(packet, message)
        }
    }

    private func socket(_ ipProtocol: IPProtocol, _ local: SocketAddress) -> Int? {
        bySocket[SocketKey(ipProtocol: ipProtocol, local: local)]
            ?? bySocket[
                SocketKey(ipProtocol: ipProtocol, local: SocketAddress(.unspecified(.ipv4), port: local.port))
            ]
            ?? bySocket[
                SocketKey(ipProtocol: ipProtocol, local: SocketAddress(.unspecified(.ipv6), port: local.port))
            ]
    }

    private func receiveUDP(_ packet: Packet) {
        if packet.destination.ip.isMulticast { return receiveMulticast(packet) }
        guard let index = socket(.udp, packet.destination), let open = sockets[index] else {
            network.drop(packet, .closedPort, name)
            if answersClosedPorts, var answer = packet.error(.portUnreachable, from: packet.destination.ip) {
                try? send(&answer)
            }
            return
        }
        network.recordDelivery(packet, to: name)
        tell(
            open.program,
            .datagram(
                SocketID(index: index),
                packet.payload,
                from: packet.source,
                to: packet.destination,
                ecn: packet.ecn
            )
        )
    }

    private func receiveMulticast(_ packet: Packet) {
        for index in sockets.indices {
            guard let open = sockets[index], open.ipProtocol == .udp, open.local.port == packet.destination.port,
                open.groups.contains(packet.destination.ip)
            else { continue }
            tell(
                open.program,
                .datagram(
                    SocketID(index: index),
                    packet.payload,
                    from: packet.source,
                    to: packet.destination,
                    ecn: packet.ecn
                )
            )
        }
    }

    private func receiveICMP(_ packet: Packet, _ message: ICMPMessage) {
        switch message.quotedProtocol {
        case .udp:
            guard let index = socket(.udp, message.quotedSource), let open = sockets[index] else {
                return network.drop(packet, .unmatchedICMP, name)
            }
            tell(
                open.program,
                .unreachable(SocketID(index: index), destination: message.quotedDestination, message.reason)
            )
        case .tcp:
            let key = StreamKey(local: message.quotedSource, remote: message.quotedDestination)
            guard let index = byStream[key] else { return network.drop(packet, .unmatchedICMP, name) }
            streams[index]?.receive(message.reason)
        case .icmp: network.drop(packet, .unmatchedICMP, name)
        }
    }

    // MARK: Streams

    func connect(
        to destination: SocketAddress,
        from source: IPAddress?,
        port: UInt16,
        program: Int
    ) throws(SocketFailure) -> StreamID {
        guard let (_, ip) = route(to: destination.ip, from: source ?? .unspecified(destination.family)),
            ip.family == destination.family
        else { throw has(source ?? destination.ip) ? .unreachable : .addressNotAvailable }
        let local = SocketAddress(ip, port: port == 0 ? freePort(.tcp, ip) : port)
        guard byStream[StreamKey(local: local, remote: destination)] == nil else { throw .addressInUse }
        let stream = add(local, destination, program: program, listener: nil)
        stream.open()
        return StreamID(index: stream.index)
    }

    private func add(_ local: SocketAddress, _ remote: SocketAddress, program: Int, listener: Int?) -> TCPStream {
        let stream = TCPStream(
            host: self,
            index: streams.count,
            program: program,
            listener: listener,
            local: local,
            remote: remote,
            initialSequence: UInt32(truncatingIfNeeded: entropy.next())
        )
        streams.append(stream)
        byStream[StreamKey(local: local, remote: remote)] = stream.index
        return stream
    }

    func forget(_ stream: TCPStream) {
        streams[stream.index] = nil
        byStream[StreamKey(local: stream.local, remote: stream.remote)] = nil
    }

    private func receiveTCP(_ packet: Packet, _ header: TCPHeader) {
        network.recordDelivery(packet, to: name)
        if let index = byStream[StreamKey(local: packet.destination, remote: packet.source)] {
            streams[index]?.receive(header, packet.payload)
            return
        }
        let isOpening = header.flags.contains(.synchronize) && !header.flags.contains(.acknowledge)
        if isOpening, let listener = socket(.tcp, packet.destination), let open = sockets[listener] {
            let stream = add(packet.destination, packet.source, program: open.program, listener: listener)
            stream.accept(header)
            return
        }
        network.drop(packet, .closedPort, name)
        if answersClosedPorts, var reset = packet.resetAnswer() { try? send(&reset) }
    }
}
