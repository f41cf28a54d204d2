public import Diagnostics
public import NetTypes
public import TURNServer

/// What the shards of a relay service have done, summed; taken about once a second.
public struct RelaySnapshot: Sendable {
    /// What the engines have counted, one entry a shard.
    public internal(set) var engines: [TURNServerStatistics] = []
    /// Whether no allocation is made any more, because the server is to end when those that exist have ended.
    public internal(set) var isDraining = false
    /// How many shards learn of datagrams by epoll, io_uring and sk_lookup.
    public internal(set) var backEnds: [String: UInt64] = [:]
    /// Streams that are open now, by transport.
    public internal(set) var streams: [TransportProtocol: UInt64] = [:]
    /// Streams that have not said anything yet.
    public internal(set) var halfOpen: UInt64 = 0
    /// Streams that were accepted and have said something, by transport.
    public internal(set) var acceptedStreams: [TransportProtocol: UInt64] = [:]
    /// Datagrams that the kernel has dropped, nearly always because a receive buffer was full: at listeners as they are
    /// dropped, at relay sockets when they are closed, or at once if one socket receives for all; and ICMP errors about
    /// relayed datagrams, where one socket receives those of all.
    public internal(set) var kernelDrops: (atListeners: UInt64, atRelays: UInt64, ofErrors: UInt64) = (0, 0, 0)
    /// Flows that the kernel relays, and the datagrams that it has relayed; `nil` without a fast path.
    public internal(set) var fastPath: (flows: UInt64, packets: UInt64)?
    /// Flows that the kernel could not be given, by reason.
    public internal(set) var fastPathRefusals: [String: UInt64] = [:]
    /// What DTLS associations there are and were.
    var dtls = DTLSStatistics()
    /// What the drivers have dropped, by reason.
    public internal(set) var drops: [String: UInt64] = [:]
    /// Datagrams that the kernel refused to send, by reason.
    public internal(set) var sendErrors: [String: UInt64] = [:]
    /// Errors that sockets told of when they were read, nearly always what became of an earlier datagram, by reason.
    public internal(set) var receiveErrors: [String: UInt64] = [:]

    mutating func add(_ other: RelaySnapshot) {
        engines += other.engines
        isDraining = isDraining || other.isDraining
        backEnds.merge(other.backEnds, uniquingKeysWith: +)
        streams.merge(other.streams, uniquingKeysWith: +)
        halfOpen += other.halfOpen
        kernelDrops.atListeners &+= other.kernelDrops.atListeners
        kernelDrops.atRelays &+= other.kernelDrops.atRelays
        kernelDrops.ofErrors &+= other.kernelDrops.ofErrors
        acceptedStreams.merge(other.acceptedStreams, uniquingKeysWith: +)
        if let more = other.fastPath {
            fastPath = ((fastPath?.flows ?? 0) &+ more.flows, (fastPath?.packets ?? 0) &+ more.packets)
        }
        fastPathRefusals.merge(other.fastPathRefusals, uniquingKeysWith: +)
        dtls += other.dtls
        drops.merge(other.drops, uniquingKeysWith: +)
        sendErrors.merge(other.sendErrors, uniquingKeysWith: +)
        receiveErrors.merge(other.receiveErrors, uniquingKeysWith: +)
    }

    /// Allocations that exist now.
    public var allocations: Int { engines.reduce(0) { $0 + $1.allocations } }

    /// Adds everything to a page of metrics, under names that begin with `floe_turn_`.
    public func write(to page: inout MetricsText) {
        func sum(_ value: (TURNServerStatistics) -> UInt64) -> UInt64 { engines.reduce(0) { $0 &+ value($1) } }
        func sum(_ values: (TURNServerStatistics) -> [(String, UInt64)]) -> [(String, UInt64)] {
            engines.reduce(into: [:] as [String: UInt64]) { totals, engine in
                for (name, count) in values(engine) { totals[name, default: 0] += count }
            }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        }
        page.add(.gauge, "floe_turn_allocations", "Allocations that exist.", UInt64(allocations))
        page.add(
            .gauge,
            "floe_turn_draining",
            "Whether no allocation is made any more, because the server is to end: 1 or 0.",
            isDraining ? 1 : 0
        )
        page.add(.gauge, "floe_turn_permissions", "Permissions that are held.", sum { UInt64($0.permissions) })
        page.add(.gauge, "floe_turn_channels", "Channels that are held.", sum { UInt64($0.channels) })
        page.add(
            .gauge,
            "floe_turn_peer_connections",
            "TCP connections with peers.",
            sum { UInt64($0.peerConnections) }
        )
        page.add(.counter, "floe_turn_allocations_total", "Allocations ever made.", sum { $0.allocationsCreated })
        page.add(
            .counter,
            "floe_turn_moves_total",
            "Allocations that have followed their client to another address.",
            sum { $0.allocationsMoved }
        )
        page.add(
            .counter,
            "floe_turn_relayed_packets_total",
            "Datagrams relayed.",
            label: "direction",
            [("to_peer", sum { $0.traffic.packetsToPeers }), ("to_client", sum { $0.traffic.packetsToClient })]
        )
        page.add(
            .counter,
            "floe_turn_relayed_bytes_total",
            "Bytes of payload relayed.",
            label: "direction",
            [("to_peer", sum { $0.traffic.bytesToPeers }), ("to_client", sum { $0.traffic.bytesToClient })]
        )
        page.add(
            .gauge,
            "floe_turn_fast_path",
            "1 if the kernel may relay bound channels, 0 if not.",
            fastPath == nil ? 0 : 1
        )
        func sorted(_ counts: [String: UInt64]) -> [(String, UInt64)] {
            counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        }
        if let fastPath {
            page.add(.gauge, "floe_turn_fast_path_flows", "Flows that the kernel relays.", fastPath.flows)
            page.add(
                .counter,
                "floe_turn_fast_path_packets_total",
                "Datagrams that the kernel has relayed; they are among all relayed ones.",
                fastPath.packets
            )
            page.add(
                .counter,
                "floe_turn_fast_path_refusals_total",
                "Flows that the kernel could not be given.",
                label: "reason",
                sorted(fastPathRefusals)
            )
        }
        page.add(
            .counter,
            "floe_turn_requests_total",
            "Requests.",
            label: "method",
            sum { $0.requests.map { ($0.name, $0.count) } }
        )
        page.add(.counter, "floe_turn_successes_total", "Success responses.", sum { $0.successes })
        page.add(
            .counter,
            "floe_turn_errors_total",
            "Error responses.",
            label: "code",
            sum { $0.errors.map { ("\($0.code)", $0.count) } }
        )
        page.add(
            .counter,
            "floe_turn_drops_total",
            "Messages dropped.",
            label: "reason",
            sum { $0.drops.map { ($0.name, $0.count) } }
        )
        func byTransport(_ counts: [TransportProtocol: UInt64]) -> [(String, UInt64)] {
            [TransportProtocol.tcp, .tls].map { ($0.description, counts[$0] ?? 0) }
        }
        page.add(
            .gauge,
            "floe_turn_threads",
            "Threads that relay, by how they receive datagrams.",
            label: "io",
            sorted(backEnds)
        )
        page.add(.gauge, "floe_turn_streams", "Open client streams.", label: "transport", byTransport(streams))
        page.add(.gauge, "floe_turn_half_open", "Client streams that have not said anything yet.", halfOpen)
        page.add(
            .counter,
            "floe_turn_streams_total",
            "Client streams that have said something.",
            label: "transport",
            byTransport(acceptedStreams)
        )
        page.add(.gauge, "floe_turn_dtls_associations", "DTLS associations that exist.", dtls.associations)
        page.add(.gauge, "floe_turn_dtls_handshakes", "DTLS handshakes that are not complete.", dtls.halfOpen)
        page.add(.counter, "floe_turn_dtls_associations_total", "DTLS handshakes completed.", dtls.established)
        page.add(.counter, "floe_turn_dtls_cookies_total", "DTLS cookies asked for.", dtls.answeredHellos)
        page.add(
            .counter,
            "floe_turn_driver_drops_total",
            "Messages and streams dropped by the driver.",
            label: "reason",
            sorted(drops)
        )
        page.add(
            .counter,
            "floe_turn_kernel_drops_total",
            "Datagrams that the kernel dropped before they could be received.",
            label: "socket",
            [("listener", kernelDrops.atListeners), ("relay", kernelDrops.atRelays), ("icmp", kernelDrops.ofErrors)]
        )
        page.add(
            .counter,
            "floe_turn_send_errors_total",
            "Datagrams that the kernel refused.",
            label: "reason",
            sorted(sendErrors)
        )
        page.add(
            .counter,
            "floe_turn_receive_errors_total",
            "Errors that sockets told of when they were read.",
            label: "reason",
            sorted(receiveErrors)
        )
    }
}
