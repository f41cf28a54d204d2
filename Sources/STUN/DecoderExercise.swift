import Bytes
import NetTypes

/// What became of bytes that a fuzzer or a mutation test has made up.
package enum ExerciseResult: Hashable, Sendable {
    /// They are no message.
    case rejected
    /// They are one, and writing what was read and reading it again shows the same.
    case consistent
    /// They are one, but are not read the same way twice: a bug.
    case inconsistent
}

/// Reads everything there is to read in made-up bytes: must not trap, whatever they are.
package func exerciseSTUNDecoder(_ bytes: Span<UInt8>, key: IntegrityKey, nonces: NonceFactory) -> ExerciseResult {
    guard let view = try? STUNMessageView(bytes) else { return .rejected }
    let client = SocketAddress(.loopback(.ipv4), port: 3478)
    if let nonce = try? view.nonce() {
        _ = nonces.check(nonce, from: client, atUnixSeconds: 1)
        _ = SecurityFeatures(nonce: nonce)
    }
    _ = view.checkPreferredIntegrity(key, minimumByteCount: 16)
    _ = view.checkMessageIntegrity(key)
    _ = view.checkFingerprint()
    _ = view.unknownRequiredAttributes(known: .turn)
    readAddresses(view)
    readCredentials(view)
    readRest(view)
    return isConsistent(view) ? .consistent : .inconsistent
}

private func readAddresses(_ view: borrowing STUNMessageView) {
    _ = try? view.mappedAddress()
    _ = try? view.xorMappedAddress()
    _ = try? view.alternateServer()
    _ = try? view.responseOrigin()
    _ = try? view.otherAddress()
}

private func readCredentials(_ view: borrowing STUNMessageView) {
    _ = (try? view.username())?.count
    _ = (try? view.realm())?.count
    _ = try? view.userhash()
    _ = try? view.passwordAlgorithm()
    _ = try? view.passwordAlgorithms()
}

private func readRest(_ view: borrowing STUNMessageView) {
    _ = try? view.errorCode()
    _ = view.errorReason()
    _ = view.string(.software)
    _ = view.string(.alternateDomain)
    _ = try? view.unknownAttributes()
    _ = try? view.priority()
    _ = view.useCandidate
    _ = try? view.iceControlled()
    _ = try? view.iceControlling()
    _ = try? view.changeRequest()
    _ = try? view.responsePort()
}

private func isConsistent(_ view: borrowing STUNMessageView) -> Bool {
    let message = STUNMessage(view)
    // What counts is never more than what came, so that it fits again.
    guard let encoded = try? message.encoded(fingerprint: true), let again = try? STUNMessageView(encoded.span) else {
        return message.attributes.reduce(0, { $0 + 4 + STUNFormat.padded($1.value.count) }) > 0xFFFC - 8
    }
    return STUNMessage(again) == message && again.checkFingerprint() == .valid
}

/// Reads made-up bytes as a sealed token and as the block inside of one: must not trap, and nothing may open by chance.
package func exerciseAccessToken(_ bytes: Span<UInt8>, key: AccessTokenKey) -> ExerciseResult {
    let name = "turn.example.org"
    var result = ExerciseResult.rejected
    if let token = key.open(bytes, for: name) {
        guard key.open(bytes, for: name + ".") == nil else { return .inconsistent }
        result = .consistent
        _ = token.remainingSeconds(atUnixSeconds: 1_700_000_000)
    }
    guard let token = AccessToken(plaintext: bytes.toArray()) else { return result }
    _ = token.remainingSeconds(atUnixSeconds: token.timestamp)
    guard token.plaintext == bytes.toArray(),
        let sealed = key.seal(token, for: name, nonce: [UInt8](repeating: 7, count: 12))
    else { return .inconsistent }
    return key.open(sealed.span, for: name) == token ? .consistent : .inconsistent
}
