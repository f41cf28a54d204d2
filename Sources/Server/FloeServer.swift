import CommandLineSupport
import Crypto
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import Relay
import Signaling
import Store
import Synchronization
import TURNServer
import Transport
import WebService

/// The process `floe serve`: relay and web service with what they share, from the options to the end.
final class FloeServer: Sendable {
    /// What the operator is told at start.
    let report: String
    private let options: ServeOptions
    private let logger: Logger
    private let relay: RelayService
    private let web: WebService
    private let identity: SharedIdentity
    /// Held for the server's life.
    private let stateLock: Descriptor

    /// Opens everything and starts all threads.
    ///
    /// - Throws: a sentence that says what is wrong and what to do; nothing is left running then.
    init(_ options: ServeOptions, logger: Logger) throws(UsageError) {
        self.options = options
        self.logger = logger
        let now = WallClock.unixSeconds()
        let machine = try Machine()
        let addressing = try RelayAddressing(machine.candidates, options)
        let state = try StateDirectory(options.state)
        let stateLock = try state.lock()
        let secret = try state.turnSecret()
        let identity = try Self.identity(options, state, machine, addressing, now)
        self.identity = SharedIdentity(identity)
        let listening = ListeningAddresses(options)
        let store = try Self.openStore(state)
        let apiKeys = try Self.apiKeys(options, store)
        let policy = try WebSetup.policy(options, secret: secret, apiKeyDigests: apiKeys)
        let relayConfiguration = try RelaySetup.configuration(
            options,
            secret: secret,
            addressing,
            machine,
            listening,
            identity
        )
        let shared = self.identity
        do {
            relay = try RelayService(relayConfiguration, logger: logger)
        } catch {
            throw Self.sentence(error, options)
        }
        let relay = relay
        do {
            let configuration = try WebSetup.configuration(options, policy, listening, identity)
            web = try WebService(configuration, store: store, logger: logger) { page in
                relay.snapshot.write(to: &page)
                let end = UInt64(clamping: shared.current.notAfter)
                page.add(.gauge, "floe_certificate_end_seconds", "Unix time at which the certificate ends.", end)
            }
        } catch {
            relay.stop()
            relay.join()
            throw Self.sentence(error, options)
        }
        self.stateLock = stateLock
        report = StartReport(options, state, identity, addressing, machine, now: now).text
    }

    /// Reads the certificate again; the old one stays if the new one is not usable.
    func reloadCertificate() {
        guard let files = options.certificate else {
            return logger.info("No certificate to read again: Floe uses its own.")
        }
        do {
            let fresh = try StateDirectory.identity(chain: files.chain, key: files.key)
            relay.useTLS(try RelaySetup.tls(fresh))
            if options.dtlsPort != 0 { relay.useDTLS(try RelaySetup.dtls(fresh)) }
            web.useTLS(try WebSetup.tls(fresh))
            identity.current = fresh
            logger.info("The certificate was read again.", ["tls.fingerprint": .text(fresh.fingerprintSHA256)])
        } catch {
            logger.error("The certificate stays as it was.", ["error": .text("\(error)")])
        }
    }

    /// Ends all connections and waits for the threads; a few seconds at most.
    func stop() {
        logger.info("Stopping.")
        web.stop()
        relay.stop()
        web.join()
        relay.join()
    }

    private static func identity(
        _ options: ServeOptions,
        _ state: StateDirectory,
        _ machine: Machine,
        _ addressing: RelayAddressing,
        _ now: UInt64
    ) throws(UsageError) -> Identity {
        guard let files = options.certificate else {
            let addresses = machine.addresses.filter { !$0.isLinkLocal } + addressing.choices.map(\.external)
            return try state.ownIdentity(for: addresses, now: now)
        }
        return try StateDirectory.identity(chain: files.chain, key: files.key)
    }

    private static func openStore(_ state: StateDirectory) throws(UsageError) -> Database {
        do throws(StoreError) {
            // Short: the control plane's loop waits for it, and what cannot be stored is only not there after a restart.
            return try Database(path: state.database, busyTimeoutMilliseconds: 250)
        } catch {
            throw UsageError("\(error)")
        }
    }

    private static func apiKeys(
        _ options: ServeOptions,
        _ store: borrowing Database
    ) throws(UsageError) -> Set<String> {
        do throws(StoreError) {
            let stored = try store.apiKeys().map { APIKey.text($0.digest) }
            return Set(options.apiKeys.map { APIKey.digest($0) } + stored)
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// Turns an error of a service into a sentence that names the option to change.
    static func sentence(_ error: any Error, _ options: ServeOptions) -> UsageError {
        guard let error = error as? SocketError else { return UsageError("\(error)") }
        let option =
            switch error.address?.port {
            case options.turnPort: "--turn-port"
            case options.dtlsPort where error.operation == .listen(.udp): "--dtls-port"
            case options.turnsPort: "--turns-port"
            case options.httpsPort: "--https-port"
            case options.httpPort: "--http-port"
            default: "--listen"
            }
        let text = "\(error)"
        let advice =
            if error.isAddressInUse {
                "; stop the other program, or choose another with \(option)"
            } else if error.isForbidden {
                "; ports below 1024 need root or CAP_NET_BIND_SERVICE: see \(option)"
            } else {
                "; see \(option)"
            }
        return UsageError(text.prefix(1).uppercased() + text.dropFirst() + advice + ".")
    }
}

/// The identity in use, which SIGHUP replaces.
final class SharedIdentity: Sendable {
    private let identity: Mutex<Identity>

    init(_ identity: Identity) { self.identity = Mutex(identity) }

    var current: Identity {
        get { identity.withLock { $0 } }
        set { identity.withLock { $0 = newValue } }
    }
}
