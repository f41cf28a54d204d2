import CommandLineSupport
import Crypto
import Synchronization

/// The certificates in use and the TLS contexts made with them, which a reload replaces.
///
/// Of several certificates a client gets the one that has its server name (SNI), and the first if none has.
final class ServerCertificates: Sendable {
    /// For ports that serve only TURN.
    let relay: TLSContextHolder
    /// For ports that serve HTTPS, WebSocket and TURN.
    let web: TLSContextHolder
    private let identities: Mutex<[Identity]>

    /// Uses certificates, at least one.
    ///
    /// - Throws: a sentence, if TLS cannot be served with them.
    init(_ identities: [Identity]) throws(UsageError) {
        relay = TLSContextHolder(try Self.context(identities, RelaySetup.applicationProtocols))
        web = TLSContextHolder(try Self.context(identities, WebSetup.applicationProtocols))
        self.identities = Mutex(identities)
    }

    /// The certificates of handshakes that begin now.
    var current: [Identity] { identities.withLock { $0 } }

    /// Uses other certificates for handshakes that begin from now on; connections that exist go on as they are.
    ///
    /// - Throws: a sentence, if TLS cannot be served with them; then nothing has changed.
    func replace(_ fresh: [Identity]) throws(UsageError) {
        let forRelay = try Self.context(fresh, RelaySetup.applicationProtocols)
        let forWeb = try Self.context(fresh, WebSetup.applicationProtocols)
        identities.withLock {
            relay.replace(forRelay)
            web.replace(forWeb)
            $0 = fresh
        }
    }

    private static func context(_ identities: [Identity], _ protocols: [String]) throws(UsageError) -> TLSContext {
        do throws(CryptoError) {
            return try TLSContext(serverIdentities: identities, applicationProtocols: protocols)
        } catch {
            throw UsageError("The certificate cannot be served: \(error).")
        }
    }
}
