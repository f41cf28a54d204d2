import COpenSSL
import NetTypes

// What the sessions of TLS and DTLS do alike with OpenSSL's session.

/// How far a handshake has come.
enum HandshakeProgress {
    case waits
    case isComplete
    case hasFailed
}

/// Goes on with a handshake as far as what was received allows.
func continueHandshake(_ session: OpaquePointer) -> HandshakeProgress {
    OpenSSLErrors.clear()
    let result = unsafe SSL_do_handshake(session)
    if result == 1 { return .isComplete }
    return unsafe SSL_get_error(session, result) == SSL_ERROR_WANT_READ ? .waits : .hasFailed
}

/// Appends the next plaintext, at most one record's; `nil` if the session has failed, with its errors in OpenSSL's queue.
func readPlaintext(_ session: OpaquePointer, into output: inout OutputSpan<UInt8>) -> TLSReadResult? {
    guard !output.isFull else { return .bytes(0) }
    OpenSSLErrors.clear()
    var read = 0
    // OpenSSL writes at most the free capacity, behind what the span has already.
    let result = unsafe output.withUnsafeMutableBufferPointer { buffer, count in
        let result = unsafe SSL_read_ex(
            session,
            buffer.baseAddress.map { unsafe $0 + count },
            buffer.count - count,
            &read
        )
        if result == 1 { count += read }
        return result
    }
    if result == 1 { return .bytes(read) }
    switch unsafe SSL_get_error(session, result) {
    case SSL_ERROR_WANT_READ: return .wouldBlock
    case SSL_ERROR_ZERO_RETURN: return .closed
    default: return nil
    }
}

/// Tells the peer that no more follows (`close_notify`).
func sayClosed(_ session: OpaquePointer) {
    OpenSSLErrors.clear()
    unsafe SSL_shutdown(session)
    OpenSSLErrors.clear()
}

/// The registered name of the cipher suite that was agreed on.
func agreedCipherSuite(_ session: OpaquePointer?) -> String? {
    // The name is a constant of the library.
    guard let name = unsafe SSL_CIPHER_standard_name(SSL_get_current_cipher(session)) else { return nil }
    return unsafe String(cString: name)
}

/// The application protocol that was agreed on, one of the context's.
func selectedProtocol(_ session: OpaquePointer?, of context: TLSContext) -> String? {
    var bytes: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    unsafe SSL_get0_alpn_selected(session, &bytes, &count)
    // The bytes belong to the session. A server may answer with what was not offered: that is nothing to us.
    let name = unsafe UnsafeBufferPointer(start: bytes, count: Int(count))
    return context.applicationProtocols.first { unsafe name.elementsEqual($0.utf8) }
}

/// Tells OpenSSL whose certificate to expect; `false` if `name` is neither a host name nor an address.
func expectServer(_ name: String, at unixTime: Int64?, _ session: OpaquePointer) -> Bool {
    let parameters = unsafe SSL_get0_param(session)
    if let unixTime { unsafe X509_VERIFY_PARAM_set_time(parameters, Int(unixTime)) }
    if let address = IPAddress(name) {
        return unsafe X509_VERIFY_PARAM_set1_ip_asc(parameters, address.description) == 1
    }
    guard let host = HostName.normalized(name.utf8), !host.hasPrefix("*") else { return false }
    unsafe SSL_set_hostflags(session, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
    return unsafe SSL_set1_host(session, host) == 1 && floe_set_server_name(session, host) == 1
}
