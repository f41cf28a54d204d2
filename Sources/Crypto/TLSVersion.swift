/// A version of TLS; older ones than 1.2 are never spoken (RFC 8996).
public enum TLSVersion: Int, Comparable, Sendable {
    /// TLS 1.2 (RFC 5246).
    case tls12 = 0x0303
    /// TLS 1.3 (RFC 8446).
    case tls13 = 0x0304

    /// Whether the first version is older.
    public static func < (first: TLSVersion, second: TLSVersion) -> Bool { first.rawValue < second.rawValue }
}

/// Which certificates a client believes.
public enum ClientTrust: Sendable {
    /// What the system trusts (the package ca-certificates).
    case system
    /// These certificates and what they have signed, as PEM text; a server's own certificate may be among them.
    case roots(pem: String)
    /// Everything, with any name: no protection at all, for tests and for tools that only look.
    case anything
}
