import CommandLineSupport
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
import Store
import WebService

/// SIGHUP: everything that may change is read again; all of it is taken, or nothing.
extension FloeServer {
    /// The options that may change while the server runs; the others are bound to sockets and threads that exist.
    static let changeable: Set<String> = [
        "cert", "key", "public-host", "advertise-tls", "allow-peer", "deny-peer", "legacy-channels", "alternate-server",
        "rfc3489", "user-quota", "total-quota", "user", "user-file", "secret", "secret-file", "api-key", "api-key-file",
        "oauth-key-file", "oauth-server-name", "origin", "metrics-from",
    ]

    /// Reads options, certificate, secrets, users and keys again; if anything is wrong, all stays as it was.
    func reload() {
        do throws(UsageError) {
            try take(try load())
            logger.info("The configuration was read again.")
        } catch {
            logger.error("The configuration stays as it was.", ["error": .text("\(error)")])
        }
    }

    private func take(_ options: ServeOptions) throws(UsageError) {
        try Self.checkFixed(self.options, options)
        let now = WallClock.unixSeconds()
        let machine = try Machine()
        let store = try Self.openStore(state)
        let secrets = try Secrets(options, state, store)
        let fresh = try Self.identities(options, state, machine, addressing, now)
        // What cannot be served is found out before anything is taken.
        _ = try ServerCertificates(fresh)
        let dtls = options.dtlsPort != 0 ? try RelaySetup.dtls(fresh) : nil
        let policy = try WebSetup.policy(options, secrets)
        let relay = try RelaySetup.configuration(options, secrets, addressing, machine, listening, certificates)
        do {
            try self.relay.reload(relay)
        } catch {
            throw UsageError("\(error)")
        }
        web.reload(policy)
        let old = certificates.current.map(\.fingerprintSHA256)
        guard fresh.map(\.fingerprintSHA256) != old else { return }
        try certificates.replace(fresh)
        if let dtls { self.relay.useDTLS(dtls) }
        logger.info("Another certificate is in use.", ["tls.fingerprint": .text(fresh[0].fingerprintSHA256)])
    }

    /// - Throws: a sentence that names the first option whose change needs another process.
    static func checkFixed(_ old: ServeOptions, _ new: ServeOptions) throws(UsageError) {
        for option in ServeCommand.specification.options where !changeable.contains(option.name) {
            guard old.arguments.texts(option.name) == new.arguments.texts(option.name) else {
                throw UsageError("'--\(option.name)' has changed, which only a restart can bring about.")
            }
        }
    }
}
