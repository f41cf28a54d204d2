import CommandLineSupport
import Crypto
import HTTP
import NetTypes
import Signaling
import WebService

/// Makes the web service's configuration from the options.
enum WebSetup {
    static func configuration(
        _ options: ServeOptions,
        _ policy: WebPolicy,
        _ listening: ListeningAddresses,
        _ identity: Identity
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
        configuration.tls = try tls(identity)
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
        policy.insistsOnHTTPS = options.certificate != nil
        return policy
    }

    static func minter(_ options: ServeOptions, secret: String) throws(UsageError) -> ICEServersMinter {
        let offersTLS =
            switch options.advertiseTLS {
            case .always: true
            case .auto: options.certificate != nil
            case .never: false
            }
        return ICEServersMinter(
            secret: secret,
            publicHost: try host(options.publicHost),
            endpoints: .init(
                udpPort: options.turnPort,
                tcpPort: options.turnPort,
                tlsPort: offersTLS && options.turnsPort != 0 ? options.turnsPort : nil
            )
        )
    }

    static func host(_ text: String?, option: String = "--public-host") throws(UsageError) -> WebHost? {
        guard let text else { return nil }
        guard let host = WebHost(text) ?? IPAddress(text).map(WebHost.init) else {
            throw UsageError("'\(text)' is not right for '\(option)': it takes a DNS name or an address.")
        }
        return host
    }

    /// The context for HTTPS.
    static func tls(_ identity: Identity) throws(UsageError) -> TLSContext {
        do throws(CryptoError) {
            return try TLSContext(serverIdentities: [identity], applicationProtocols: ["http/1.1"])
        } catch {
            throw UsageError("The certificate cannot be served: \(error).")
        }
    }
}
