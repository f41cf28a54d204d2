import Diagnostics
import HTTP
import NetTypes
import Transport

/// Why the web service drops a connection; raw values are the names in metrics.
enum WebDrop: String, DropReason {
    /// More connections than the service bears.
    case tooManyConnections
    /// More connections than one address may have.
    case tooManyConnectionsOfPrefix
    /// A connection that came when the process had no descriptor left.
    case noDescriptor
    /// A stream with TURN for which the relay had no room.
    case relayBusy
    /// A TLS record that failed; handshakes are the lobby's.
    case tlsFailure
    /// A WebSocket whose client does not read.
    case slowReader
    /// Sessions that could not be written.
    case storeFailure
}

/// What the web service has counted.
struct WebStatistics {
    /// Connections that have said something, and it was not TURN.
    var accepted: UInt64 = 0
    /// Those with TURN, which the relay has got.
    var handedOver: UInt64 = 0
    /// How often the loop woke up.
    var turns: UInt64 = 0
    /// Responses by the first digit of their status.
    var responses: [Int: UInt64] = [:]
    var drops = DropCounters<WebDrop>()
    var requestDrops = DropCounters<HTTPDropReason>()

    /// Adds everything to a page of metrics, with what the lobby has dropped among the drops.
    func write(to page: inout MetricsText, lobby: DropCounters<StreamLobbyDrop>) {
        page.add(.counter, "floe_http_connections_total", "Connections accepted.", accepted)
        page.add(
            .counter,
            "floe_http_relay_streams_total",
            "Connections with TURN, handed to the relay.",
            handedOver
        )
        page.add(.counter, "floe_http_turns_total", "Times that the service's loop woke up.", turns)
        page.add(
            .counter,
            "floe_http_responses_total",
            "Responses by class of status.",
            label: "class",
            (1...5).map { ("\($0)xx", responses[$0] ?? 0) }
        )
        page.add(
            .counter,
            "floe_http_drops_total",
            "Connections dropped by the service.",
            label: "reason",
            (drops.all + lobby.all).reduce(into: []) { all, next in
                // A reason of both is one line.
                if let same = all.firstIndex(where: { $0.0 == next.name }) {
                    all[same].1 += next.count
                } else {
                    all.append((next.name, next.count))
                }
            }
        )
        page.add(
            .counter,
            "floe_http_refused_total",
            "Requests refused.",
            label: "reason",
            requestDrops.all.map { ($0.name, $0.count) }
        )
    }
}
