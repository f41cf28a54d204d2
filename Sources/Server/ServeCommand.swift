public import CommandLineSupport

/// The command `serve` as the command line knows it.
public enum ServeCommand {
    /// Its options and their help.
    public static let specification = CommandSpecification(
        "serve",
        "Run the STUN/TURN server, the signaling server and the call page in one process.",
        [
            (
                "Where it listens",
                [
                    OptionSpecification(
                        "listen",
                        "ADDRESS",
                        standard: "0.0.0.0 and ::",
                        repeats: true,
                        help: "addresses to listen on"
                    ),
                    OptionSpecification("turn-port", "PORT", standard: "3478", help: "STUN and TURN over UDP and TCP"),
                    OptionSpecification(
                        "turns-port",
                        "PORT",
                        standard: "5349",
                        help: "TURN over TLS alone (the port of HTTPS serves it too); 0 turns it off"
                    ),
                    OptionSpecification(
                        "dtls-port",
                        "PORT",
                        standard: "5349",
                        help: "TURN over DTLS, UDP; 0 turns DTLS off, on --turn-port too"
                    ),
                    OptionSpecification(
                        "https-port",
                        "PORT",
                        standard: "8443",
                        help: "call page, signaling and TURN over TLS on one port; 0 turns it off"
                    ),
                    OptionSpecification(
                        "http-port",
                        "PORT",
                        standard: "8080",
                        help: "the same without TLS, on loopback only; 0 turns it off"
                    ),
                    OptionSpecification(
                        "proxy-protocol-from",
                        "CIDR",
                        repeats: true,
                        help: "load balancers whose connections begin with the PROXY protocol's header (1 or 2)"
                    ),
                ]
            ),
            (
                "Who it is",
                [
                    OptionSpecification(
                        "state",
                        "DIRECTORY",
                        standard: "$XDG_DATA_HOME/floe or ~/.local/share/floe",
                        help: "where certificate, TURN secret and database are kept"
                    ),
                    OptionSpecification(
                        "cert",
                        "FILE",
                        repeats: true,
                        help: "certificate chain in PEM (with --key), several by server name; read again on SIGHUP"
                    ),
                    OptionSpecification(
                        "key",
                        "FILE",
                        repeats: true,
                        help: "private key in PEM, one for each --cert in the same order"
                    ),
                    OptionSpecification(
                        "public-host",
                        "HOST",
                        help: "name or address that clients reach this server by (default: as in their request)"
                    ),
                    OptionSpecification(
                        "realm",
                        "REALM",
                        standard: "floe",
                        help: "the realm of TURN credentials; best the domain name"
                    ),
                    OptionSpecification(
                        "advertise-tls",
                        "WHEN",
                        standard: "auto",
                        help: "offer TURN over TLS to the call page: always, never, or auto (with --cert)"
                    ),
                ]
            ),
            (
                "What it relays",
                [
                    OptionSpecification(
                        "relay-ip",
                        "ADDRESS",
                        repeats: true,
                        help: "local addresses to relay from (default: as found)"
                    ),
                    OptionSpecification(
                        "external-ip",
                        "ADDRESS[/LOCAL]",
                        repeats: true,
                        help: "address that peers see in place of the local one (1:1 NAT), per family"
                    ),
                    OptionSpecification(
                        "relay-ports",
                        "FIRST-LAST",
                        standard: "49152-65535",
                        help: "ports to relay from"
                    ),
                    OptionSpecification(
                        "allow-peer",
                        "CIDR",
                        repeats: true,
                        help: "relay to these addresses although they are denied by default"
                    ),
                    OptionSpecification("deny-peer", "CIDR", repeats: true, help: "never relay to these addresses"),
                    OptionSpecification(
                        "legacy-channels",
                        help: "accept the channel numbers of RFC 5766 (0x5000 and up), which RFC 8656 reserves"
                    ),
                    OptionSpecification(
                        "nat-discovery",
                        "FIRST/SECOND",
                        repeats: true,
                        help: "two addresses of this machine from which NAT behaviour is discovered (RFC 5780)"
                    ),
                    OptionSpecification(
                        "nat-discovery-port",
                        "PORT",
                        standard: "3479",
                        help: "the second port of NAT behaviour discovery"
                    ),
                    OptionSpecification(
                        "alternate-server",
                        "ADDRESS:PORT",
                        repeats: true,
                        help: "servers to which clients are sent when there is no room for an allocation here"
                    ),
                    OptionSpecification(
                        "rfc3489",
                        help: "answer Binding requests of clients older than 2008, which lack the magic cookie"
                    ),
                    OptionSpecification(
                        "tcp-relay",
                        help: "let clients relay TCP connections with peers (RFC 6062), on --relay-ports"
                    ),
                    OptionSpecification(
                        "mobility",
                        help: "let allocations follow their clients to other addresses and connections (RFC 8016)"
                    ),
                ]
            ),
            (
                "How much",
                [
                    OptionSpecification("user-quota", "N", standard: "100", help: "allocations that one user may have"),
                    OptionSpecification("total-quota", "N", standard: "10000", help: "allocations in all"),
                    OptionSpecification(
                        "allocation-kbps",
                        "N",
                        help: "kilobits a second that one allocation may relay, both ways together"
                    ),
                    OptionSpecification("user-kbps", "N", help: "the same for all allocations of one user"),
                    OptionSpecification("total-kbps", "N", help: "the same for the whole server"),
                    OptionSpecification(
                        "prefix-rate",
                        "N",
                        standard: "200",
                        help: "answers a second to requests without credentials from one address (IPv6: one /64)"
                    ),
                    OptionSpecification(
                        "fast-path",
                        "WHERE",
                        repeats: true,
                        help: "let the kernel relay bound channels (BPF): auto, off (default), or interfaces"
                    ),
                ]
            ),
            (
                "Who may use it",
                [
                    OptionSpecification(
                        "user",
                        "NAME:PASSWORD",
                        repeats: true,
                        help: "a TURN user that is always valid"
                    ),
                    OptionSpecification(
                        "user-file",
                        "FILE",
                        repeats: true,
                        help: "such users, one in a line; see also 'floe user add'"
                    ),
                    OptionSpecification(
                        "secret",
                        "SECRET",
                        repeats: true,
                        help: "a further secret of ephemeral credentials, which another service makes"
                    ),
                    OptionSpecification("secret-file", "FILE", repeats: true, help: "such secrets, one in a line"),
                    OptionSpecification(
                        "oauth-key-file",
                        "FILE",
                        repeats: true,
                        help:
                            "keys of an authorization server whose access tokens are taken (RFC 7635), see 'floe token'"
                    ),
                    OptionSpecification(
                        "oauth-server-name",
                        "NAME",
                        standard: "the realm",
                        help: "the name that access tokens for this server are made for"
                    ),
                    OptionSpecification(
                        "api-key",
                        "KEY",
                        repeats: true,
                        help: "a key that may fetch TURN credentials at /turn"
                    ),
                    OptionSpecification(
                        "api-key-file",
                        "FILE",
                        repeats: true,
                        help: "such keys, one in a line; see also 'floe key add'"
                    ),
                    OptionSpecification(
                        "origin",
                        "URL",
                        repeats: true,
                        help: "other sites that may use the signaling, as https://example.org"
                    ),
                    OptionSpecification(
                        "metrics-from",
                        "CIDR",
                        repeats: true,
                        help: "who may read /metrics besides loopback"
                    ),
                ]
            ),
            (
                "How it runs",
                [
                    OptionSpecification(
                        "config",
                        "FILE",
                        help: "more options, one in a line, as 'user-quota 20'; read again on SIGHUP"
                    ),
                    OptionSpecification(
                        "drain-time",
                        "SECONDS",
                        standard: "0",
                        help: "how long SIGTERM lets allocations that exist live on, while none is made"
                    ),
                    OptionSpecification("threads", "N", standard: "one per core", help: "threads that relay"),
                    OptionSpecification(
                        "io",
                        "KIND",
                        standard: "auto",
                        help:
                            "how datagrams are received and sent: auto (io_uring where it may), epoll, io_uring, sk_lookup"
                    ),
                    OptionSpecification("log-level", "LEVEL", standard: "info", help: "debug, info, warning or error"),
                    OptionSpecification("log-format", "FORMAT", help: "human or json (default: human on a terminal)"),
                    OptionSpecification(
                        "log-addresses",
                        "POLICY",
                        standard: "truncated",
                        help: "clients' addresses in the log: full, truncated or hidden"
                    ),
                ]
            ),
        ],
        notes: """
            Without options it works: open the URL that it prints. SIGTERM and SIGINT end it; SIGUSR1 ends it when
            the last allocation has ended, and until then none is made. SIGHUP reads certificates, users, secrets,
            keys and the file of --config again, and calls go on; if anything is wrong then, all stays as it was
            and the log says why.
            Exit codes: 0 ended as asked, 1 cut short (asked twice, or too slow), 2 could not start.
            """
    )
}
