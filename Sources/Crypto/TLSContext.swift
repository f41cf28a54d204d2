import COpenSSL

/// What many TLS sessions have in common: identities or trust, application protocols, versions.
///
/// Immutable once made, so that all threads may share it. To change a certificate make a new one and use it for new
/// sessions; those that exist keep the one they began with.
///
/// TLS 1.2 and 1.3, forward secrecy and authenticated encryption only, with the suites that RFC 8489 §6.2.3 names; no
/// compression, no renegotiation, no early data; tickets resume sessions, no server keeps state for them.
@safe public final class TLSContext: Sendable {
    /// Which end of the connection the context is for.
    public enum Role: Sendable {
        /// Accepts.
        case server
        /// Connects.
        case client
    }

    /// Which end of the connection the context is for.
    public let role: Role
    /// The application protocols (ALPN), the most wanted first.
    public let applicationProtocols: [String]

    // OpenSSL's contexts are counted with atomics and not changed after `init`; `deinit` gives them back.
    let identities: ServerIdentities
    nonisolated(unsafe) let context: OpaquePointer
    let verifiesServer: Bool
    private let protocols: ProtocolList

    /// Makes a context for servers.
    ///
    /// The first identity is the default; another is chosen when the client's server name (SNI, RFC 6066 §3) is one of
    /// its dNSName entries, exactly or else by wildcard. A client that offers application protocols gets the first of
    /// `applicationProtocols` that it offered; if there is none, the handshake fails with `no_application_protocol`
    /// (RFC 7301 §3.2). A client that offers none is served (RFC 7443), and so is every client if the list is empty.
    ///
    /// - Throws: `CryptoError.noIdentity`, `.identityRefused`, `.invalidApplicationProtocol` or `.library`.
    public convenience init(
        serverIdentities: [Identity],
        applicationProtocols: [String] = [],
        versions: ClosedRange<TLSVersion> = .tls12 ... .tls13
    ) throws(CryptoError) {
        try self.init(serverIdentities, applicationProtocols, .stream(versions))
    }

    init(
        _ serverIdentities: [Identity],
        _ applicationProtocols: [String],
        _ records: RecordLayer
    ) throws(CryptoError) {
        let protocols = try ProtocolList(applicationProtocols)
        let identities = try ServerIdentities(serverIdentities, protocols, records)
        role = .server
        self.applicationProtocols = applicationProtocols
        self.protocols = protocols
        self.identities = identities
        unsafe context = identities.defaultContext
        verifiesServer = false
    }

    /// Makes a context for clients.
    ///
    /// The server's certificate must lead to a trusted one and must be for the name that the session connects to
    /// (a dNSName or iPAddress entry, RFC 8489 §6.2.3).
    ///
    /// - Throws: `CryptoError.certificateNotPEM`, `.certificateUnreadable`, `.systemTrustUnavailable`,
    ///   `.invalidApplicationProtocol` or `.library`.
    public convenience init(
        clientTrust: ClientTrust,
        applicationProtocols: [String] = [],
        versions: ClosedRange<TLSVersion> = .tls12 ... .tls13
    ) throws(CryptoError) {
        try self.init(clientTrust, applicationProtocols, .stream(versions))
    }

    init(
        _ clientTrust: ClientTrust,
        _ applicationProtocols: [String],
        _ records: RecordLayer
    ) throws(CryptoError) {
        let protocols = try ProtocolList(applicationProtocols)
        let context = try unsafe records.makeContext(.client)
        do throws(CryptoError) {
            try unsafe Self.setTrust(clientTrust, context)
            guard unsafe protocols.offer(context) else { throw OpenSSLErrors.taken() }
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
        role = .client
        self.applicationProtocols = applicationProtocols
        self.protocols = protocols
        identities = ServerIdentities()
        unsafe self.context = context
        if case .anything = clientTrust { verifiesServer = false } else { verifiesServer = true }
    }

    deinit { if role == .client { unsafe SSL_CTX_free(context) } }

    /// The cipher suites in the order of preference, by their registered names.
    public var cipherSuites: [String] {
        var names: [String] = []
        // The names are constants of the library.
        while let name = unsafe floe_cipher_name(context, Int32(names.count)) {
            unsafe names.append(String(cString: name))
        }
        return names
    }

    private static func setTrust(_ trust: ClientTrust, _ context: OpaquePointer) throws(CryptoError) {
        switch trust {
        case .anything: unsafe SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        case .system:
            guard unsafe SSL_CTX_set_default_verify_paths(context) == 1 else { throw .systemTrustUnavailable }
            unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        case .roots(let pem):
            let roots = try CertificateList(pem: pem)
            let store = unsafe SSL_CTX_get_cert_store(context)
            for index in 0..<roots.count {
                guard unsafe X509_STORE_add_cert(store, roots[index]) == 1 else { throw OpenSSLErrors.taken() }
            }
            // A listed certificate is trusted for itself, also if it is not a CA's.
            unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
            unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        }
    }
}

/// What carries the records, and which versions of the protocol they may have.
enum RecordLayer {
    /// TLS over a stream.
    case stream(ClosedRange<TLSVersion>)
    /// DTLS 1.2 over datagrams.
    case datagrams

    /// Makes one of OpenSSL's contexts with the settings that both ends share; the caller frees it.
    func makeContext(_ role: TLSContext.Role) throws(CryptoError) -> OpaquePointer {
        OpenSSLErrors.clear()
        guard let context = unsafe SSL_CTX_new(method(role)) else { throw OpenSSLErrors.taken() }
        let (minimum, maximum) = versionNumbers
        guard unsafe floe_configure(context, minimum, maximum) == 1,
            unsafe SSL_CTX_set_cipher_list(context, oldSuites) == 1,
            unsafe SSL_CTX_set_ciphersuites(context, suites) == 1
        else {
            unsafe SSL_CTX_free(context)
            throw OpenSSLErrors.taken()
        }
        if case .datagrams = self { unsafe floe_configure_datagrams(context) }
        return unsafe context
    }

    private func method(_ role: TLSContext.Role) -> OpaquePointer? {
        switch (self, role) {
        case (.stream, .server): unsafe TLS_server_method()
        case (.stream, .client): unsafe TLS_client_method()
        case (.datagrams, .server): unsafe DTLS_server_method()
        case (.datagrams, .client): unsafe DTLS_client_method()
        }
    }

    private var versionNumbers: (Int32, Int32) {
        switch self {
        case .stream(let versions): (Int32(versions.lowerBound.rawValue), Int32(versions.upperBound.rawValue))
        case .datagrams: (DTLS1_2_VERSION, DTLS1_2_VERSION)
        }
    }
}

// AES-128 first: it is the cheapest, and no attack that is known would make the longer key matter. DHE stands last, for
// clients that know nothing better: it costs the server most.
private let suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
private let oldSuites = """
    ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
    ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384
    """

/// Application protocols in the form of the wire, at an address that does not move.
@safe final class ProtocolList: Sendable {
    // Written in `init` only; freed with this object, which outlives the contexts that point to it.
    nonisolated(unsafe) private let list: UnsafeMutablePointer<floe_protocols>

    init(_ names: [String]) throws(CryptoError) {
        var bytes: [UInt8] = []
        for name in names {
            guard let count = UInt8(exactly: name.utf8.count), count > 0 else { throw .invalidApplicationProtocol }
            bytes.append(count)
            bytes.append(contentsOf: name.utf8)
        }
        guard bytes.count <= 256 else { throw .invalidApplicationProtocol }
        unsafe list = .allocate(capacity: 1)
        unsafe list.initialize(to: floe_protocols())
        unsafe list.pointee.count = UInt32(bytes.count)
        // The list has room for 256 bytes.
        unsafe withUnsafeMutableBytes(of: &list.pointee.bytes) { unsafe $0.copyBytes(from: bytes) }
    }

    deinit { unsafe list.deallocate() }

    /// Lets the server's context choose among these.
    func serve(_ context: OpaquePointer) {
        if unsafe list.pointee.count > 0 { unsafe floe_serve_protocols(context, list) }
    }

    /// Lets the client's context offer these.
    func offer(_ context: OpaquePointer) -> Bool {
        guard unsafe list.pointee.count > 0 else { return true }
        return unsafe withUnsafeBytes(of: &list.pointee.bytes) {
            unsafe SSL_CTX_set_alpn_protos(
                context,
                $0.baseAddress?.assumingMemoryBound(to: UInt8.self),
                list.pointee.count
            )
                == 0
        }
    }
}
