import Crypto

/// The keys of a pipe: one for each direction, derived from what only the two ends know.
///
/// A pipe numbers its packets and never uses a number twice with one key; ICE passwords are new for each connection, and so
/// are the keys.
public struct PipeKeys: Sendable {
    /// What this end seals with.
    let sending: AESGCM
    /// What the other end seals with.
    let receiving: AESGCM

    /// Derives the keys of one end (HKDF with SHA-256, RFC 5869).
    ///
    /// - Parameters:
    ///   - secret: A secret that both ends were told by their owners; may be empty if the passwords are as secret.
    ///   - offerer: The ICE password of the end that has offered.
    ///   - answerer: The ICE password of the other end.
    ///   - isOfferer: Which end this is.
    public init(secret: String, offerer: String, answerer: String, isOfferer: Bool) {
        let salt = HMACKey(.sha256, key: Array("floe pipe 1".utf8))
        // Lengths in front, so that no two triples are the same bytes.
        var material: [UInt8] = []
        for part in [secret, offerer, answerer] {
            let bytes = Array(part.utf8)
            material += [UInt8(truncatingIfNeeded: bytes.count &>> 8), UInt8(truncatingIfNeeded: bytes.count)] + bytes
        }
        let root = HMACKey(.sha256, key: salt.authenticationCode(for: material))
        let toAnswerer = root.authenticationCode(for: Array("offerer to answerer".utf8) + [1])
        let toOfferer = root.authenticationCode(for: Array("answerer to offerer".utf8) + [1])
        guard let first = AESGCM(key: toAnswerer), let second = AESGCM(key: toOfferer) else {
            preconditionFailure("SHA-256 gives 32 bytes, which AES takes")
        }
        sending = isOfferer ? first : second
        receiving = isOfferer ? second : first
    }
}
