import COpenSSL

/// Why a TLS session ended before its time.
///
/// The words are ours or the library's, never the peer's.
public enum TLSFailure: Error, Equatable, Sendable {
    /// The first bytes are not TLS: another protocol on this port.
    case notTLS
    /// The peer has no version of TLS that is allowed here.
    case noCommonVersion
    /// The peer has no cipher suite, group or signature that is allowed here.
    case noCommonCipher
    /// None of the client's application protocols is served here (RFC 7301 §3.2).
    case noApplicationProtocol
    /// The server's certificate is not to be believed.
    case certificate(CertificateProblem)
    /// The peer ended the session with this alert.
    case alertReceived(TLSAlert)
    /// The handshake is longer than this many bytes.
    case handshakeTooLarge(limitBytes: Int)
    /// The application left more than this many received bytes unread.
    case inputNotRead(limitBytes: Int)
    /// The peer provoked answers faster than they could be sent.
    case outputOverflow
    /// The name to connect to is neither a host name nor an IP address.
    case invalidServerName
    /// The peer broke the protocol, or a record was altered on the way; the library's number for it.
    case protocolViolation(libraryCode: UInt)
    /// The handshake of a DTLS session was not complete in time.
    case timedOut
    /// There is no memory for the session.
    case outOfMemory
}

/// What is wrong with a server's certificate.
public enum CertificateProblem: Equatable, Sendable {
    /// It is for another name or address.
    case hostNameMismatch
    /// Nobody who is trusted has signed it.
    case untrustedIssuer
    /// It has signed itself and is not trusted.
    case selfSigned
    /// Its time, or that of one of its issuers, is over.
    case expired
    /// Its time has not come, or the clock here is wrong.
    case notYetValid
    /// Another reason, by OpenSSL's number (X509_V_ERR).
    case other(code: Int)

    init(verifyResult: Int) {
        switch Int32(truncatingIfNeeded: verifyResult) {
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: self = .hostNameMismatch
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            self = .untrustedIssuer
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: self = .selfSigned
        case X509_V_ERR_CERT_HAS_EXPIRED: self = .expired
        case X509_V_ERR_CERT_NOT_YET_VALID: self = .notYetValid
        default: self = .other(code: verifyResult)
        }
    }
}

/// The description of an alert (RFC 8446 §6).
public struct TLSAlert: RawRepresentable, Hashable, Sendable {
    /// The number on the wire.
    public let rawValue: UInt8
    /// Makes an alert from its number.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// No acceptable parameters.
    public static let handshakeFailure = TLSAlert(rawValue: 40)
    /// The certificate is damaged.
    public static let badCertificate = TLSAlert(rawValue: 42)
    /// The certificate's time is over.
    public static let certificateExpired = TLSAlert(rawValue: 45)
    /// The certificate is refused for another reason.
    public static let certificateUnknown = TLSAlert(rawValue: 46)
    /// The certificate's issuer is unknown.
    public static let unknownCA = TLSAlert(rawValue: 48)
    /// No common version.
    public static let protocolVersion = TLSAlert(rawValue: 70)
    /// The user gave up.
    public static let userCanceled = TLSAlert(rawValue: 90)
    /// No common application protocol (RFC 7301).
    public static let noApplicationProtocol = TLSAlert(rawValue: 120)
}

extension TLSFailure {
    /// Reads the thread's error queue, and the result of the verification, after a call has failed.
    init(takingErrorsOf session: OpaquePointer, isEstablished: Bool) {
        let code = OpenSSLErrors.take()
        let reason = ERR_GET_REASON(code)
        guard ERR_GET_LIB(code) == ERR_LIB_SSL else {
            self = .protocolViolation(libraryCode: code)
            return
        }
        switch reason {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            self = unsafe .certificate(CertificateProblem(verifyResult: SSL_get_verify_result(session)))
        case SSL_R_NO_APPLICATION_PROTOCOL: self = .noApplicationProtocol
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_NO_PROTOCOLS_AVAILABLE: self = .noCommonVersion
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
            self = .noCommonCipher
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: self = .notTLS
        case SSL_R_WRONG_VERSION_NUMBER where !isEstablished: self = .notTLS
        case (SSL_AD_REASON_OFFSET + 1)...(SSL_AD_REASON_OFFSET + 255):
            self = .alertReceived(TLSAlert(rawValue: UInt8(truncatingIfNeeded: reason - SSL_AD_REASON_OFFSET)))
        default: self = .protocolViolation(libraryCode: code)
        }
    }
}

extension TLSFailure: CustomStringConvertible {
    /// What went wrong, in a sentence for a log.
    public var description: String {
        switch self {
        case .notTLS: "the peer does not speak TLS on this connection"
        case .noCommonVersion: "no common version of TLS; 1.2 or 1.3 is needed"
        case .noCommonCipher: "no common cipher suite, group or signature algorithm"
        case .noApplicationProtocol: "no common application protocol (ALPN)"
        case .certificate(let problem): "the server's certificate \(problem)"
        case .alertReceived(let alert): "the peer ended the session with the TLS alert \(alert)"
        case .handshakeTooLarge(let limit): "the handshake is longer than \(limit) bytes"
        case .inputNotRead(let limit): "more than \(limit) received bytes were not read"
        case .outputOverflow: "the peer provoked more answers than could be sent"
        case .invalidServerName: "the server's name is neither a host name nor an IP address"
        case .protocolViolation(let code): "TLS was violated: \(OpenSSLErrors.reason(code))"
        case .timedOut: "the handshake was not complete in time: datagrams are lost, or nobody speaks DTLS there"
        case .outOfMemory: "no memory for a TLS session"
        }
    }
}

extension CertificateProblem: CustomStringConvertible {
    /// Completes a sentence that begins with "the certificate".
    public var description: String {
        switch self {
        case .hostNameMismatch: "is for another host name or address"
        case .untrustedIssuer: "is signed by nobody who is trusted here; does the server send its whole chain?"
        case .selfSigned: "is self-signed and not trusted here"
        case .expired: "has expired"
        case .notYetValid: "is not valid yet; is the clock right?"
        // The text is a constant of the library.
        case .other(let code): unsafe "is refused: " + String(cString: X509_verify_cert_error_string(code))
        }
    }
}

extension TLSAlert: CustomStringConvertible {
    /// The number and the library's name for it.
    public var description: String {
        // The text is a constant of the library.
        let name = unsafe String(cString: SSL_alert_desc_string_long(Int32(rawValue)))
        return "\(rawValue) (\(name))"
    }
}
