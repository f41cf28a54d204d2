import COpenSSL
public import NetTypes

/// A certificate chain and the private key of its first certificate: what a TLS or DTLS server shows.
///
/// Immutable and checked: the texts parse and the key belongs to the certificate. Expiry is not an error, because an
/// expired certificate may be all that an operator has; ask `isExpired(at:)` and warn.
public struct Identity: Sendable {
    /// The chain, the server's own certificate first, as PEM text.
    public let certificatePEM: String
    /// The private key as PEM text: a secret.
    public let privateKeyPEM: String
    /// The SHA-256 fingerprint of the first certificate, as `AB:CD:…` (RFC 8122 §5).
    public let fingerprintSHA256: String
    /// From when on the certificate is valid, in seconds since 1970.
    public let notBefore: Int64
    /// Until when the certificate is valid, in seconds since 1970.
    public let notAfter: Int64
    /// The certificate's dNSName entries, in lower case; `*.example.com` stands for one label.
    public let dnsNames: [String]
    /// The certificate's iPAddress entries.
    public let ipAddresses: [IPAddress]

    /// Checks a certificate chain and its private key, both PEM text; one text may hold both.
    ///
    /// - Throws: `CryptoError`, which says what is wrong with which of the two.
    public init(certificatePEM: String, privateKeyPEM: String) throws(CryptoError) {
        let parsed = try ParsedIdentity(certificatePEM: certificatePEM, privateKeyPEM: privateKeyPEM)
        self = unsafe Identity(certificatePEM, privateKeyPEM, leaf: parsed[0])
    }

    private init(_ certificatePEM: String, _ privateKeyPEM: String, leaf: OpaquePointer) {
        self.certificatePEM = certificatePEM
        self.privateKeyPEM = privateKeyPEM
        fingerprintSHA256 = unsafe Self.fingerprint(of: leaf)
        notBefore = unsafe Self.unixTime(X509_get0_notBefore(leaf))
        notAfter = unsafe Self.unixTime(X509_get0_notAfter(leaf))
        (dnsNames, ipAddresses) = unsafe Self.names(of: leaf)
    }

    /// Whether the certificate's time is over at `unixTime` (seconds since 1970).
    public func isExpired(at unixTime: Int64) -> Bool { unixTime > notAfter }

    /// Whether the certificate's time has not come yet at `unixTime` (seconds since 1970).
    public func isNotYetValid(at unixTime: Int64) -> Bool { unixTime < notBefore }

    private static func fingerprint(of certificate: OpaquePointer) -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        // A SHA-256 digest has 32 bytes.
        _ = unsafe X509_digest(certificate, EVP_sha256(), &digest, nil)
        let digits = Array("0123456789ABCDEF")
        return digest.map { String([digits[Int($0 >> 4)], digits[Int($0 & 15)]]) }.joined(separator: ":")
    }

    private static func unixTime(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        let epoch = unsafe ASN1_TIME_set(nil, 0)
        defer { unsafe ASN1_STRING_free(epoch) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        // A certificate with an unreadable time counts as expired.
        guard unsafe ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return 0 }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    private static func names(of certificate: OpaquePointer) -> ([String], [IPAddress]) {
        var dnsNames: [String] = []
        var addresses: [IPAddress] = []
        guard let names = unsafe floe_subject_alternative_names(certificate) else { return ([], []) }
        defer { unsafe GENERAL_NAMES_free(names) }
        let total = unsafe floe_general_name_count(names)
        for index in 0..<total {
            var isAddress: Int32 = 0
            var count: Int32 = 0
            // The bytes belong to `names` and are `count` long.
            guard let bytes = unsafe floe_general_name(names, index, &isAddress, &count) else { continue }
            let value = unsafe Array(UnsafeBufferPointer(start: bytes, count: Int(count)))
            if isAddress != 0 {
                if let address = IPAddress(bytes: value.span) { addresses.append(address) }
            } else if let name = HostName.normalized(value) {
                dnsNames.append(name)
            }
        }
        return (dnsNames, addresses)
    }
}

extension Identity: CustomStringConvertible, CustomReflectable {
    /// Names the certificate by its fingerprint; never shows the key.
    public var description: String { "Identity(\(fingerprintSHA256))" }
    /// Shows the certificate's fingerprint only, so that no dump of a value that holds the identity shows its key.
    public var customMirror: Mirror { Mirror(self, children: ["fingerprintSHA256": fingerprintSHA256]) }
}
