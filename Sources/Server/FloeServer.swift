import CommandLineSupport
import Crypto
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import Relay
import Signaling
import Store
import TURNServer
import Transport
import WebService

/// The process `floe serve`: relay and web service with what they share, from the options to the end.
final class FloeServer: Sendable {
    /// What the operator is told at start.
    let report: String
    let options: ServeOptions
    let logger: Logger
    let relay: RelayService
    let web: WebService
    let certificates: ServerCertificates
    let state: StateDirectory
    let addressing: RelayAddressing
    let listening: ListeningAddresses
    /// Reads the options again.
    let load: @Sendable () throws(UsageError) -> ServeOptions
    /// Held for the server's life.
    private let stateLock: Descriptor

    /// Opens everything and starts all threads.
    ///
    /// - Throws: a sentence that says what is wrong and what to do; nothing is left running then.
    init(
        _ options: ServeOptions,
        logger: Logger,
        load: @escaping @Sendable () throws(UsageError) -> ServeOptions
    ) throws(UsageError) {
        self.options = options
        self.logger = logger
        self.load = load
        let now = WallClock.unixSeconds()
        let machine = try Machine()
        let addressing = try RelayAddressing(machine.candidates, options)
        let state = try StateDirectory(options.state)
        let stateLock = try state.lock()
        let identities = try Self.identities(options, state, machine, addressing, now)
        let certificates = try ServerCertificates(identities)
        self.certificates = certificates
        let listening = ListeningAddresses(options)
        let store = try Self.openStore(state)
        let secrets = try Secrets(options, state, store)
        let policy = try WebSetup.policy(options, secrets)
        var relayConfiguration = try RelaySetup.configuration(
            options,
            secrets,
            addressing,
            machine,
            listening,
            certificates
        )
        relayConfiguration.fastPath = try FastPathSetup.make(options, logger: logger)
        do {
            relay = try RelayService(relayConfiguration, logger: logger)
        } catch {
            throw Self.sentence(error, options)
        }
        let relay = relay
        do {
            var configuration = try WebSetup.configuration(options, policy, listening, certificates)
            configuration.relay = { (connection: consuming StreamConnection) in relay.adopt(connection) }
            web = try WebService(configuration, store: store, logger: logger) { page in
                relay.snapshot.write(to: &page)
                let end = UInt64(clamping: certificates.current.map(\.notAfter).min() ?? 0)
                page.add(.gauge, "floe_certificate_end_seconds", "Unix time at which a certificate ends.", end)
            }
        } catch {
            relay.stop()
            relay.join()
            throw Self.sentence(error, options)
        }
        self.stateLock = stateLock
        self.state = state
        self.addressing = addressing
        self.listening = listening
        report = StartReport(options, state, identities[0], addressing, machine, now: now).text
        relay.reportBackEnd(to: logger)
    }

    /// Ends all connections and waits for the threads; a few seconds at most.
    func stop() {
        logger.info("Stopping.")
        web.stop()
        relay.stop()
        web.join()
        relay.join()
    }

    static func identities(
        _ options: ServeOptions,
        _ state: StateDirectory,
        _ machine: Machine,
        _ addressing: RelayAddressing,
        _ now: UInt64
    ) throws(UsageError) -> [Identity] {
        guard options.certificates.isEmpty else { return try read(options.certificates) }
        let addresses = machine.addresses.filter { !$0.isLinkLocal } + addressing.choices.map(\.external)
        let host = options.publicHost
        let named = host.flatMap { IPAddress($0) }
        return [
            try state.ownIdentity(
                for: addresses + (named.map { [$0] } ?? []),
                names: named == nil ? host.map { [$0] } ?? [] : [],
                now: now
            )
        ]
    }

    private static func read(_ files: [ServeOptions.CertificateFiles]) throws(UsageError) -> [Identity] {
        try files.map { files throws(UsageError) in try StateDirectory.identity(chain: files.chain, key: files.key) }
    }

    static func openStore(_ state: StateDirectory) throws(UsageError) -> Database {
        do throws(StoreError) {
            // Short: the control plane's loop waits for it, and what cannot be stored is only not there after a restart.
            return try Database(path: state.database, busyTimeoutMilliseconds: 250)
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// Turns an error of a service into a sentence that names the option to change.
    static func sentence(_ error: any Error, _ options: ServeOptions) -> UsageError {
        if let error = error as? SystemError, options.io == .ioUring {
            return UsageError("The server \(error); '--io auto' and '--io epoll' do without.")
        }
        if let error = error as? SystemError, options.io == .socketLookup {
            return UsageError("The server \(error); \(LookupSetup.advice); '--io auto' and '--io epoll' do without.")
        }
        guard let error = error as? SocketError else { return UsageError("\(error)") }
        if error.isAddressElsewhere, let ip = error.address?.ip {
            return UsageError("'--listen \(ip)' cannot be: \(ip) is not an address of this machine.")
        }
        let option =
            switch error.address?.port {
            case options.turnPort: "--turn-port"
            case options.dtlsPort where error.operation == .listen(.udp): "--dtls-port"
            case options.turnsPort: "--turns-port"
            case options.httpsPort: "--https-port"
            case options.httpPort: "--http-port"
            case options.natDiscoveryPort where !options.natDiscovery.isEmpty: "--nat-discovery-port"
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
