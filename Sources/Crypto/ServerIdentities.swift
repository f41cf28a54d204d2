import COpenSSL

/// A server's certificates, one of OpenSSL's contexts for each, and which to show for which server name.
@safe final class ServerIdentities: Sendable {
    // Filled in `init` only, freed in `deinit`; the counts inside are atomic.
    nonisolated(unsafe) private let contexts: [OpaquePointer]
    private let exact: [String: Int]
    private let wildcards: [String: Int]

    /// None, for a client.
    init() {
        unsafe contexts = []
        exact = [:]
        wildcards = [:]
    }

    init(_ identities: [Identity], _ protocols: ProtocolList, _ records: RecordLayer) throws(CryptoError) {
        guard !identities.isEmpty else { throw .noIdentity }
        var contexts = unsafe [OpaquePointer]()
        var exact: [String: Int] = [:]
        var wildcards: [String: Int] = [:]
        do throws(CryptoError) {
            for (index, identity) in identities.enumerated() {
                let context = try unsafe records.makeContext(.server)
                unsafe contexts.append(context)
                try unsafe Self.use(identity, at: index, in: context)
                unsafe protocols.serve(context)
                for name in identity.dnsNames {
                    // Where two identities have one name, the first in the operator's list wins.
                    if name.hasPrefix("*.") {
                        if wildcards[name] == nil { wildcards[name] = index }
                    } else if exact[name] == nil {
                        exact[name] = index
                    }
                }
            }
        } catch {
            unsafe contexts.forEach { unsafe SSL_CTX_free($0) }
            throw error
        }
        unsafe self.contexts = contexts
        self.exact = exact
        self.wildcards = wildcards
        // The default context alone sees server names. The object outlives the sessions, which hold its owner.
        unsafe floe_set_server_name_callback(contexts[0], chooseIdentity, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { unsafe contexts.forEach { unsafe SSL_CTX_free($0) } }

    var defaultContext: OpaquePointer { unsafe contexts[0] }

    /// The context for a client that asked for `name`, or `nil` if no identity has that name.
    fileprivate func context(for name: String) -> OpaquePointer? {
        if let index = exact[name] { return unsafe contexts[index] }
        guard let pattern = HostName.wildcard(covering: name), let index = wildcards[pattern] else { return nil }
        return unsafe contexts[index]
    }

    private static func use(_ identity: Identity, at index: Int, in context: OpaquePointer) throws(CryptoError) {
        let parsed = try ParsedIdentity(certificatePEM: identity.certificatePEM, privateKeyPEM: identity.privateKeyPEM)
        OpenSSLErrors.clear()
        var isUsed =
            unsafe SSL_CTX_use_certificate(context, parsed[0]) == 1 && SSL_CTX_use_PrivateKey(context, parsed.key) == 1
        for link in 1..<max(1, parsed.count) where isUsed {
            isUsed = unsafe floe_add_chain_certificate(context, parsed[link]) == 1
        }
        guard isUsed else { throw .identityRefused(index: index, reason: OpenSSLErrors.reason(OpenSSLErrors.take())) }
    }
}

/// The server name that the client of `session` sent, in lower case; `nil` if it sent none or not a host name.
func requestedServerName(_ session: OpaquePointer?) -> String? {
    // The text belongs to the session, ends with a zero and is copied here.
    guard let text = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) else { return nil }
    let bytes = unsafe UnsafeBufferPointer(
        start: UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self),
        count: strlen(text)
    )
    guard let name = unsafe HostName.normalized(bytes), !name.hasPrefix("*") else { return nil }
    return name
}

/// OpenSSL calls this when it has read the server name, on the thread that feeds the session.
private func chooseIdentity(
    _ session: OpaquePointer?,
    _ alert: UnsafeMutablePointer<Int32>?,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let argument = unsafe argument, let name = unsafe requestedServerName(session) else {
        return SSL_TLSEXT_ERR_NOACK
    }
    let identities = unsafe Unmanaged<ServerIdentities>.fromOpaque(argument).takeUnretainedValue()
    guard let context = unsafe identities.context(for: name), unsafe SSL_set_SSL_CTX(session, context) != nil else {
        return SSL_TLSEXT_ERR_NOACK
    }
    return SSL_TLSEXT_ERR_OK
}
