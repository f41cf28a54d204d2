import CommandLineSupport
import Crypto
import EventLoop
import NetTypes
import Relay
import STUN
import TURN
import TURNServer

/// Makes the relay's configuration from the options.
enum RelaySetup {
    static func configuration(
        _ options: ServeOptions,
        secret: String,
        _ addressing: RelayAddressing,
        _ machine: Machine,
        _ listening: ListeningAddresses,
        _ identity: Identity
    ) throws(UsageError) -> RelayConfiguration {
        let relays = addressing.choices.map { RelayAddress(local: $0.local, external: $0.external) }
        let gate = PeerAddressGate(
            allow: options.allowedPeers,
            deny: options.deniedPeers,
            relayAddresses: relays,
            serverAddresses: machine.addresses + options.externalAddresses.map(\.external)
        )
        var server = TURNServerConfiguration(
            credentials: try credentials(options, secret: secret),
            relayAddresses: relays,
            gate: gate
        )
        server.relayPorts = options.relayPorts
        server.limits.allocationsPerUser = options.userQuota
        server.limits.allocations = options.totalQuota
        server.acceptsLegacyChannels = options.acceptsLegacyChannels
        server.relaysTCP = options.relaysTCP
        server.software = "Floe \(Floe.version)"
        let listeners = listening.addresses.flatMap { ip -> [RelayConfiguration.Listener] in
            let plain = SocketAddress(ip, port: options.turnPort)
            let secure = SocketAddress(ip, port: options.turnsPort)
            return [.init(.udp, plain), .init(.tcp, plain)] + (options.turnsPort == 0 ? [] : [.init(.tls, secure)])
        }
        var configuration = RelayConfiguration(server: server, listeners: listeners)
        configuration.threads = options.threads ?? LoopThread.availableProcessors.count
        configuration.tls = try tls(identity)
        return configuration
    }

    /// The context for TURN over TLS, with the protocol names of RFC 7443.
    static func tls(_ identity: Identity) throws(UsageError) -> TLSContext {
        do throws(CryptoError) {
            return try TLSContext(
                serverIdentities: [identity],
                applicationProtocols: ["stun.turn", "stun.nat-discovery"]
            )
        } catch {
            throw UsageError("The certificate cannot be served: \(error).")
        }
    }

    private static func credentials(_ options: ServeOptions, secret: String) throws(UsageError) -> TURNServerCredentials
    {
        do throws(CredentialError) {
            var users: [LongTermCredentials] = []
            for user in options.users {
                users.append(
                    try LongTermCredentials(username: user.name, realm: options.realm, password: user.password)
                )
            }
            let bytes = Array(secret.utf8)
            return TURNServerCredentials(
                realm: options.realm,
                users: users,
                secrets: [try RESTSecret(bytes)],
                // Derived, not drawn: the nonces of before a restart stay good after it.
                nonceSecret: HMACKey(.sha256, key: bytes).authenticationCode(for: Array("floe nonce".utf8))
            )
        } catch {
            throw UsageError("The credentials cannot be used: \(error).")
        }
    }
}
