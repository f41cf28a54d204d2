import COpenSSL

/// A certificate chain and its key as OpenSSL's objects, which it owns: the leaf first, never empty.
@safe struct ParsedIdentity: ~Copyable {
    private let certificates: CertificateList
    /// Lives as long as this value.
    let key: OpaquePointer

    init(certificatePEM: String, privateKeyPEM: String) throws(CryptoError) {
        let certificates = try CertificateList(pem: certificatePEM)
        let key = try unsafe Self.readKey(privateKeyPEM)
        let owner = (0..<certificates.count).first { unsafe X509_check_private_key(certificates[$0], key) == 1 }
        OpenSSLErrors.clear()
        guard owner == 0 else {
            unsafe EVP_PKEY_free(key)
            throw .privateKeyMismatch(belongsTo: owner)
        }
        self.certificates = certificates
        unsafe self.key = key
    }

    deinit { unsafe EVP_PKEY_free(key) }

    var count: Int { certificates.count }

    /// A certificate of the chain; it lives as long as this value.
    subscript(index: Int) -> OpaquePointer { unsafe certificates[index] }

    private static func readKey(_ pem: String) throws(CryptoError) -> OpaquePointer {
        OpenSSLErrors.clear()
        var wasEncrypted: Int32 = 0
        let key = unsafe withMemoryBIO(pem) { unsafe floe_read_private_key($0, &wasEncrypted) }
        OpenSSLErrors.clear()
        if let key = unsafe key { return unsafe key }
        if wasEncrypted != 0 { throw .privateKeyEncrypted }
        throw hasKeyBlock(pem) ? .privateKeyUnreadable : .privateKeyNotPEM
    }

    private static func hasKeyBlock(_ pem: String) -> Bool {
        pem.split(whereSeparator: \.isNewline).contains {
            $0.hasPrefix("-----BEGIN ") && $0.hasSuffix("PRIVATE KEY-----")
        }
    }
}

/// Certificates read from PEM text, as OpenSSL's objects, which it owns; at least one.
@safe struct CertificateList: ~Copyable {
    private let certificates: [OpaquePointer]

    init(pem: String) throws(CryptoError) {
        OpenSSLErrors.clear()
        var certificates = unsafe [OpaquePointer]()
        _ = unsafe withMemoryBIO(pem) { source in
            while let certificate = unsafe PEM_read_bio_X509(source, nil, nil, nil) {
                unsafe certificates.append(certificate)
            }
        }
        // The end of the text shows as the absence of another first line; anything else is damage.
        let code = OpenSSLErrors.take()
        let isAtEnd = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
        guard isAtEnd, unsafe !certificates.isEmpty else {
            let index = unsafe certificates.count
            unsafe certificates.forEach { unsafe X509_free($0) }
            throw isAtEnd ? .certificateNotPEM : .certificateUnreadable(index: index)
        }
        unsafe self.certificates = certificates
    }

    deinit { unsafe certificates.forEach { unsafe X509_free($0) } }

    var count: Int { unsafe certificates.count }

    subscript(index: Int) -> OpaquePointer { unsafe certificates[index] }
}

/// Runs `body` with a BIO that reads `text`; it lives for the call only.
func withMemoryBIO<Result>(_ text: String, _ body: (OpaquePointer) -> Result?) -> Result? {
    let bytes = Array(text.utf8)
    return unsafe bytes.withUnsafeBufferPointer { bytes in
        guard let count = Int32(exactly: bytes.count), let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, count) else {
            return nil
        }
        defer { unsafe BIO_free(bio) }
        return unsafe body(bio)
    }
}
