/// Why a certificate, a key or a TLS context could not be made: mistakes of the operator, never of a peer.
///
/// The description says what is wrong and what to do; the caller adds which file it was.
public enum CryptoError: Error, Equatable, Sendable {
    /// The certificate text has no `BEGIN CERTIFICATE` block.
    case certificateNotPEM
    /// The block of that position, counted from 0, is damaged.
    case certificateUnreadable(index: Int)
    /// The key text has no `BEGIN … PRIVATE KEY` block.
    case privateKeyNotPEM
    /// The key is encrypted with a passphrase.
    case privateKeyEncrypted
    /// The key's block is damaged or of an unknown kind.
    case privateKeyUnreadable
    /// The key belongs to another certificate; `index` tells to which of the chain, if to any.
    case privateKeyMismatch(belongsTo: Int?)
    /// A name or an address is missing, or a name for a self-signed certificate is not a host name.
    case invalidName
    /// A period of validity that is empty or beyond the year 9999.
    case invalidValidity
    /// A server needs at least one identity.
    case noIdentity
    /// OpenSSL refuses to serve the identity of that position, in its own words.
    case identityRefused(index: Int, reason: String)
    /// An application protocol is empty or longer than 255 bytes, or all of them are longer than 256 (RFC 7301 §3.1).
    case invalidApplicationProtocol
    /// The system's trusted certificates could not be loaded.
    case systemTrustUnavailable
    /// OpenSSL failed where it should not, for lack of memory for example; its own words.
    case library(reason: String)
}

extension CryptoError: CustomStringConvertible {
    /// What is wrong, and what to do about it.
    public var description: String {
        switch self {
        case .certificateNotPEM:
            "this is no PEM certificate: no line -----BEGIN CERTIFICATE----- was found; "
                + "convert a DER file with: openssl x509 -inform der -in FILE -out FILE.pem"
        case .certificateUnreadable(let index):
            "certificate \(index + 1) of the file is damaged; copy the file again from where it was issued"
        case .privateKeyNotPEM:
            "this is no PEM private key: no line -----BEGIN PRIVATE KEY----- (or RSA, EC) was found; "
                + "give the key that was made for the certificate"
        case .privateKeyEncrypted:
            "the private key is encrypted; remove the passphrase with: openssl pkey -in FILE -out FILE.pem"
        case .privateKeyUnreadable:
            "the private key is damaged or of an unknown kind; use an ECDSA P-256 or an RSA key of 2048 bits or more"
        case .privateKeyMismatch(let index):
            if let index {
                "the private key belongs to certificate \(index + 1) of the file; "
                    + "put that one first, its issuers after it"
            } else {
                "the private key does not belong to the certificate; give the pair that was issued together"
            }
        case .invalidName:
            "a certificate needs a common name of 1 to 64 characters and at least one host name or IP address; "
                + "host names have letters, digits, hyphens and dots"
        case .invalidValidity: "the certificate's period of validity is empty or ends after the year 9999"
        case .noIdentity: "a TLS server needs a certificate and its private key"
        case .identityRefused(let index, let reason):
            "certificate \(index + 1) of the server cannot be used: \(reason); "
                + "use an ECDSA P-256 or an RSA key of 2048 bits or more, signed with SHA-256"
        case .invalidApplicationProtocol: "an application protocol needs a name of 1 to 255 bytes, all together 256"
        case .systemTrustUnavailable:
            "the system's trusted certificates cannot be read; install the package ca-certificates or name a file"
        case .library(let reason): "OpenSSL failed: \(reason)"
        }
    }
}
