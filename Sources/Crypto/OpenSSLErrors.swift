import COpenSSL

/// The error queue that OpenSSL keeps for each thread: cleared before a call, read after it.
enum OpenSSLErrors {
    static func clear() { ERR_clear_error() }

    /// Takes the first error, which is the cause of those after it, and clears the queue; 0 if there is none.
    static func take() -> UInt {
        let code = ERR_get_error()
        ERR_clear_error()
        return code
    }

    /// The library's fixed words for an error: never anything that a peer has sent.
    static func reason(_ code: UInt) -> String {
        // The text is a constant of the library, or NULL.
        guard let text = unsafe ERR_reason_error_string(code) else { return "no reason given" }
        return unsafe String(cString: text)
    }

    static func taken() -> CryptoError { .library(reason: reason(take())) }
}
