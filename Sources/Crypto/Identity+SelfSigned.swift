import Bytes
import COpenSSL
public import NetTypes

extension Identity {
    /// The kind of key that a new identity gets.
    public enum KeyKind: Sendable {
        /// ECDSA on P-256: what every current client takes, and the faster one.
        case ecdsaP256
        /// RSA with 2048 bits, for clients that know nothing else.
        case rsa2048
    }

    /// Makes a key and a certificate that it signs itself: not for a CA, for TLS servers only.
    ///
    /// At least one DNS name or IP address is needed. The certificate is valid from `unixTime` (seconds since 1970).
    /// Keys come from the system's generator. Takes a millisecond for ECDSA, a good part of a second for RSA.
    ///
    /// - Throws: `CryptoError.invalidName`, `.invalidValidity`, or `.library` if OpenSSL fails.
    public static func selfSigned(
        commonName: String,
        dnsNames: [String] = [],
        ipAddresses: [IPAddress] = [],
        validForDays days: Int,
        notBefore unixTime: Int64,
        keyKind: KeyKind = .ecdsaP256
    ) throws(CryptoError) -> Identity {
        guard (1...64).contains(commonName.unicodeScalars.count), !dnsNames.isEmpty || !ipAddresses.isEmpty else {
            throw .invalidName
        }
        var names: [String] = []
        for name in dnsNames {
            guard let normalized = HostName.normalized(name.utf8) else { throw .invalidName }
            names.append(normalized)
        }
        let yearTenThousand: Int64 = 253_402_300_800
        guard (1...1_000_000).contains(days), (0..<yearTenThousand).contains(unixTime),
            unixTime + Int64(days) * 86_400 < yearTenThousand
        else { throw .invalidValidity }

        OpenSSLErrors.clear()
        guard let key = unsafe keyKind == .ecdsaP256 ? floe_generate_p256() : floe_generate_rsa2048() else {
            throw OpenSSLErrors.taken()
        }
        defer { unsafe EVP_PKEY_free(key) }
        guard let certificate = unsafe X509_new() else { throw OpenSSLErrors.taken() }
        defer { unsafe X509_free(certificate) }
        guard unsafe fill(certificate, key, commonName, from: unixTime, days: days),
            unsafe addExtensions(to: certificate, names, ipAddresses),
            unsafe X509_sign(certificate, key, EVP_sha256()) > 0,
            let certificatePEM = unsafe text({ unsafe PEM_write_bio_X509($0, certificate) }),
            let keyPEM = unsafe text({ unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) })
        else { throw OpenSSLErrors.taken() }
        return try Identity(certificatePEM: certificatePEM, privateKeyPEM: keyPEM)
    }

    private static func fill(
        _ certificate: OpaquePointer,
        _ key: OpaquePointer,
        _ commonName: String,
        from unixTime: Int64,
        days: Int
    ) -> Bool {
        var entropy = Entropy.system
        var serial = entropy.bytes(16)
        serial[0] = serial[0] & 0x7F | 0x40  // positive, and never shorter (RFC 5280 §4.1.2.2)
        guard let number = unsafe BN_bin2bn(serial, 16, nil) else { return false }
        defer { unsafe BN_free(number) }
        let name = unsafe X509_get_subject_name(certificate)
        let bytes = Array(commonName.utf8)
        return unsafe BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
            && X509_set_version(certificate, 2) == 1
            && ASN1_TIME_set(X509_getm_notBefore(certificate), Int(unixTime)) != nil
            && ASN1_TIME_adj(X509_getm_notAfter(certificate), Int(unixTime), Int32(days), 0) != nil
            && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, bytes, Int32(bytes.count), -1, 0) == 1
            && X509_set_issuer_name(certificate, name) == 1
            && X509_set_pubkey(certificate, key) == 1
    }

    private static func addExtensions(
        to certificate: OpaquePointer,
        _ names: [String],
        _ addresses: [IPAddress]
    ) -> Bool {
        guard let alternatives = unsafe GENERAL_NAMES_new() else { return false }
        defer { unsafe GENERAL_NAMES_free(alternatives) }
        for name in names {
            let bytes = Array(name.utf8)
            guard unsafe floe_add_general_name(alternatives, 0, bytes, bytes.count) == 1 else { return false }
        }
        for address in addresses {
            let bytes = buildBytes(capacity: 16) { address.write(into: &$0) }
            guard unsafe floe_add_general_name(alternatives, 1, bytes, bytes.count) == 1 else { return false }
        }
        return unsafe floe_add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") == 1
            && floe_add_extension(certificate, NID_key_usage, "critical,digitalSignature") == 1
            && floe_add_extension(certificate, NID_ext_key_usage, "serverAuth") == 1
            && floe_add_extension(certificate, NID_subject_key_identifier, "hash") == 1
            && X509_add1_ext_i2d(certificate, NID_subject_alt_name, UnsafeMutableRawPointer(alternatives), 0, 0) == 1
    }

    /// The text that `write` puts into a BIO.
    private static func text(_ write: (OpaquePointer) -> Int32) -> String? {
        guard let bio = unsafe BIO_new(BIO_s_mem()) else { return nil }
        defer { unsafe BIO_free(bio) }
        guard unsafe write(bio) == 1 else { return nil }
        var bytes: UnsafeMutablePointer<CChar>?
        let count = unsafe floe_memory_bio(bio, &bytes)
        // The bytes belong to the BIO and are copied before it goes.
        return unsafe String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
