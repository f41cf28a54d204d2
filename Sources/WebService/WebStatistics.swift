import Diagnostics
import HTTP
import NetTypes

/// Why the web service drops a connection; raw values are the names in metrics.
enum WebDrop: String, DropReason {
    /// More connections than the service bears.
    case tooManyConnections
    /// More connections than one address may have.
    case tooManyConnectionsOfPrefix
    /// A connection that came when the process had no descriptor left.
    case noDescriptor
    /// A TLS handshake that took too long.
    case handshakeTimeout
    /// A TLS handshake or record that failed.
    case tlsFailure
    /// A WebSocket whose client does not read.
    case slowReader
    /// Sessions that could not be written.
    case storeFailure
}

/// What the web service has counted.
struct WebStatistics {
    var accepted: UInt64 = 0
    /// How often the loop woke up.
    var turns: UInt64 = 0
    /// Responses by the first digit of their status.
    var responses: [Int: UInt64] = [:]
    var drops = DropCounters<WebDrop>()
    var requestDrops = DropCounters<HTTPDropReason>()

    func write(to page: inout MetricsText) {
        page.add(.counter, "floe_http_connections_total", "Connections accepted.", accepted)
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
            drops.all.map { ($0.name, $0.count) }
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
