import CommandLineSupport
import Crypto
import HTTP
import NetTypes
import Signaling
import Transport
import WebService

/// Makes the web service's configuration from the options.
enum WebSetup {
    static func configuration(
        _ options: ServeOptions,
        _ policy: WebPolicy,
        _ listening: ListeningAddresses,
        _ certificates: ServerCertificates
    ) throws(UsageError) -> WebConfiguration {
        var listeners: [WebConfiguration.Listener] = []
        if options.httpsPort != 0 {
            listeners += listening.addresses.map { .init(SocketAddress($0, port: options.httpsPort), isTLS: true) }
        }
        if options.httpPort != 0 {
            let families = Set(listening.addresses.map(\.family))
            listeners += AddressFamily.allCases.filter(families.contains).map {
                .init(SocketAddress(.loopback($0), port: options.httpPort), isTLS: false)
            }
        }
        var configuration = WebConfiguration(listeners: listeners, policy: policy)
        configuration.tls = certificates.web
        configuration.halfOpen.proxies = options.proxies
        return configuration
    }

    static func policy(
        _ options: ServeOptions,
        _ secrets: Secrets
    ) throws(UsageError) -> WebPolicy {
        var policy = WebPolicy(minter: try minter(options, secret: secrets.shared[0]))
        for text in options.origins {
            guard let origin = HTTPOrigin(text) else {
                throw UsageError(
                    "'\(text)' is not right for '--origin': it takes an origin such as https://example.org."
                )
            }
            policy.origins.append(origin)
        }
        policy.metricsFrom = options.metricsFrom
        policy.apiKeyDigests = secrets.apiKeyDigests
        policy.insistsOnHTTPS = !options.certificates.isEmpty
        return policy
    }

    static func minter(_ options: ServeOptions, secret: String) throws(UsageError) -> ICEServersMinter {
        let offersTLS =
            switch options.advertiseTLS {
            case .always: true
            case .auto: !options.certificates.isEmpty
            case .never: false
            }
        return ICEServersMinter(
            secret: secret,
            publicHost: try host(options.publicHost),
            endpoints: .init(
                udpPort: options.turnPort,
                tcpPort: options.turnPort,
                tlsPort: offersTLS ? turnOverTLSPort(options) : nil
            )
        )
    }

    /// Where clients are sent for TURN over TLS, if anywhere: to 443 rather than elsewhere, since most firewalls let it pass.
    static func turnOverTLSPort(_ options: ServeOptions) -> UInt16? {
        let port = options.turnsPort == 0 || options.httpsPort == 443 ? options.httpsPort : options.turnsPort
        return port == 0 ? nil : port
    }

    static func host(_ text: String?, option: String = "--public-host") throws(UsageError) -> WebHost? {
        guard let text else { return nil }
        guard let host = WebHost(text) ?? IPAddress(text).map(WebHost.init) else {
            throw UsageError("'\(text)' is not right for '\(option)': it takes a DNS name or an address.")
        }
        return host
    }

    /// What is told apart on the port of HTTPS (RFC 7301, RFC 7443); clients that offer none of them, but others, are
    /// refused with `no_application_protocol`.
    static let applicationProtocols = ["http/1.1"] + RelaySetup.applicationProtocols
}
