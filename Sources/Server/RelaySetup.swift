import CommandLineSupport
import Crypto
import EventLoop
import NetTypes
import Relay
import STUN
import TURN
import TURNServer
import Transport

/// Makes the relay's configuration from the options.
enum RelaySetup {
    static func configuration(
        _ options: ServeOptions,
        _ secrets: Secrets,
        _ addressing: RelayAddressing,
        _ machine: Machine,
        _ listening: ListeningAddresses,
        _ certificates: ServerCertificates
    ) throws(UsageError) -> RelayConfiguration {
        let relays = addressing.choices.map { RelayAddress(local: $0.local, external: $0.external) }
        let gate = PeerAddressGate(
            allow: options.allowedPeers,
            deny: options.deniedPeers,
            relayAddresses: relays,
            serverAddresses: machine.addresses + options.externalAddresses.map(\.external)
        )
        var server = TURNServerConfiguration(
            credentials: try credentials(options, secrets),
            relayAddresses: relays,
            gate: gate
        )
        server.relayPorts = options.relayPorts
        server.limits.allocationsPerUser = options.userQuota
        let answers = RateLimit(perSecond: Double(options.prefixRate), burst: Double(options.prefixRate) * 5)
        server.limits.unauthenticatedAnswers = answers
        server.limits.bindingAnswers = answers
        server.limits.allocations = options.totalQuota
        server.limits.bytesPerSecondPerAllocation = options.allocationBandwidth.map { UInt64($0) * 125 }
        server.limits.bytesPerSecondPerUser = options.userBandwidth.map { UInt64($0) * 125 }
        server.limits.bytesPerSecond = options.totalBandwidth.map { UInt64($0) * 125 }
        server.acceptsLegacyChannels = options.acceptsLegacyChannels
        server.relaysTCP = options.relaysTCP
        server.allowsMobility = options.allowsMobility
        server.answersRFC3489 = options.answersRFC3489
        if !options.alternateServers.isEmpty {
            server.redirection = TURNServerRedirection(to: options.alternateServers)
        }
        server.discovery = try discovery(options, machine, listening)
        server.software = "Floe \(Floe.version)"
        let listeners = listening.addresses.flatMap { ip -> [RelayConfiguration.Listener] in
            let plain = SocketAddress(ip, port: options.turnPort)
            let secure = SocketAddress(ip, port: options.turnsPort)
            // A port that serves HTTPS as well is the web service's, which hands over what is TURN.
            let isOwn = options.turnsPort != 0 && options.turnsPort != options.httpsPort
            return [.init(.udp, plain), .init(.tcp, plain)] + (isOwn ? [.init(.tls, secure)] : [])
        }
        // Where UDP is listened to already, the same socket takes DTLS.
        let datagramPorts = [0, options.turnPort] + (server.discovery.isEmpty ? [] : [options.natDiscoveryPort])
        let datagrams =
            datagramPorts.contains(options.dtlsPort)
            ? []
            : listening.addresses
                .map { RelayConfiguration.Listener(.dtls, SocketAddress($0, port: options.dtlsPort)) }
        let second = listening.addresses.filter { ip in server.discovery.contains { $0.first.family == ip.family } }
            .map { RelayConfiguration.Listener(.udp, SocketAddress($0, port: options.natDiscoveryPort)) }
        var configuration = RelayConfiguration(server: server, listeners: listeners + datagrams + second)
        configuration.threads = options.threads ?? LoopThread.availableProcessors.count
        configuration.datagramBackEnd = options.io
        configuration.tls = certificates.relay
        configuration.halfOpen.proxies = options.proxies
        if options.dtlsPort != 0 { configuration.dtls = try dtls(certificates.current) }
        return configuration
    }

    /// The addresses of NAT behaviour discovery, all of which the machine must have and listen on.
    private static func discovery(
        _ options: ServeOptions,
        _ machine: Machine,
        _ listening: ListeningAddresses
    ) throws(UsageError) -> [DiscoveryAddresses] {
        var found: [DiscoveryAddresses] = []
        for pair in options.natDiscovery {
            guard !found.contains(where: { $0.first.family == pair.first.family }) else {
                throw UsageError("'--nat-discovery' is given twice for one family: give one pair of each.")
            }
            for ip in [pair.first, pair.second] {
                guard machine.addresses.contains(ip) else {
                    throw UsageError("'--nat-discovery \(pair)': \(ip) is not an address of this machine.")
                }
                guard listening.addresses.contains(where: { $0 == ip || $0 == .unspecified(ip.family) }) else {
                    throw UsageError("'--nat-discovery \(pair)': add '--listen \(ip)', where the server must listen.")
                }
            }
            func address(_ local: IPAddress) -> RelayAddress {
                RelayAddress(local: local, external: options.externalAddresses.first { $0.local == local }?.external)
            }
            found.append(
                DiscoveryAddresses(
                    address(pair.first),
                    address(pair.second),
                    firstPort: options.turnPort,
                    secondPort: options.natDiscoveryPort
                )
            )
        }
        return found
    }

    /// The protocol names of RFC 7443.
    static let applicationProtocols = ["stun.turn", "stun.nat-discovery"]

    /// The context for STUN and TURN over DTLS.
    static func dtls(_ identities: [Identity]) throws(UsageError) -> DTLSContext {
        do throws(CryptoError) {
            return try DTLSContext(serverIdentities: identities, applicationProtocols: applicationProtocols)
        } catch {
            throw UsageError("The certificate cannot be served: \(error).")
        }
    }

    private static func credentials(
        _ options: ServeOptions,
        _ secrets: Secrets
    ) throws(UsageError) -> TURNServerCredentials {
        // Derived, not drawn: the nonces of before a restart stay good after it, and those of before a new secret too.
        let nonceSecrets = secrets.shared.prefix(min(2, secrets.ownCount)).map {
            HMACKey(.sha256, key: Array($0.utf8)).authenticationCode(for: Array("floe nonce".utf8))
        }
        do throws(CredentialError) {
            var shared: [RESTSecret] = []
            for secret in secrets.shared { shared.append(try RESTSecret(Array(secret.utf8))) }
            return TURNServerCredentials(
                realm: options.realm,
                users: secrets.users,
                secrets: shared,
                thirdParty: secrets.tokenKeys.isEmpty
                    ? nil : ThirdPartyAuthorization(serverName: options.tokenServerName, keys: secrets.tokenKeys),
                nonceSecret: nonceSecrets.first,
                previousNonceSecret: nonceSecrets.dropFirst().first
            )
        } catch {
            throw UsageError("The credentials cannot be used: \(error).")
        }
    }
}
