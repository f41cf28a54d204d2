import NetTypes
import STUN

/// What a response takes from its request: where it goes and how it is protected.
struct Responder {
    var client: ClientTuple
    let method: STUNMethod
    let transactionID: TransactionID
    /// None until the request is authenticated (RFC 8489 §9.2.4).
    var protection = MessageProtection.none
    /// A FINGERPRINT in the request gets one in the response (turn 39).
    let fingerprint: Bool
    /// How long the request was.
    let requestByteCount: Int

    /// The same response, to and from elsewhere.
    func answering(to client: ClientTuple) -> Self {
        var responder = self
        responder.client = client
        return responder
    }

    /// Whether an error may say that much: nobody who is not known gets a longer answer than the question was.
    func hasRoom(forReason reason: String) -> Bool {
        // Header, ERROR-CODE, the phrase with its padding, FINGERPRINT.
        isAuthenticated || 28 + (reason.utf8.count + 3) & ~3 + (fingerprint ? 8 : 0) <= requestByteCount
    }

    var isAuthenticated: Bool {
        switch protection {
        case .none: false
        case .sha1, .sha256, .both: true
        }
    }
}

extension STUNError {
    /// What a client's programmer should know, in a few words.
    var reason: String {
        switch self {
        case .malformedAttribute(let type): "\(type) is malformed"
        case .unknownAddressFamily(let type, _): "\(type) has an unknown family"
        case .truncatedHeader, .notSTUN, .badMagicCookie, .unalignedLength, .lengthMismatch, .attributeExceedsMessage,
            .messageFull:
            ""
        }
    }
}

extension TURNServerEngine {
    /// More than any response needs: the longest has a realm, a server name, a nonce and algorithms, or two addresses and all protection.
    static let responseRoom = 1280

    /// Writes a success response; `body` appends its attributes.
    mutating func succeed(
        _ responder: Responder,
        extraRoom: Int = 0,
        _ body: (inout STUNMessageBuilder, inout OutputSpan<UInt8>) -> Void
    ) {
        let software = software(for: responder)
        let written = write(.success, responder, room: Self.responseRoom + extraRoom) { builder, output in
            body(&builder, &output)
            if let software { builder.append(.software, software, into: &output) }
        }
        if written { counters.successes &+= 1 } else { counters.countDrop(.outboxFull) }
    }

    /// Writes an error response; `reason` tells a person what the code does not.
    ///
    /// An answer to somebody unknown must stay small: there it stands only if the answer is no longer than the request.
    mutating func fail(
        _ responder: Responder,
        _ code: ErrorCode,
        _ reason: String = "",
        unknown: AttributeTypeList? = nil,
        _ body: (inout STUNMessageBuilder, inout OutputSpan<UInt8>) -> Void = { _, _ in }
    ) {
        let software = software(for: responder)
        let reason = responder.hasRoom(forReason: reason) ? reason : ""
        let written = write(.error, responder) { builder, output in
            builder.append(code, reason: reason, into: &output)
            if let unknown { builder.append(unknownAttributes: unknown, into: &output) }
            body(&builder, &output)
            if let software { builder.append(.software, software, into: &output) }
        }
        if written { counters.countError(code) } else { counters.countDrop(.outboxFull) }
    }

    /// Writes 401 or 438 with what the client needs to authenticate (RFC 8489 §9.2.4).
    mutating func challenge(_ responder: Responder, _ code: ErrorCode) {
        let realm = credentials.realm
        let algorithms = credentials.passwordAlgorithms
        let factory = nonces
        // RFC 7635 §4: with 401, not with 438.
        let serverName = code == .unauthenticated ? credentials.thirdParty?.serverName : nil
        let now = unixSeconds
        let client = responder.client.remote
        let written = write(.error, responder) { builder, output in
            builder.append(code, into: &output)
            builder.append(.realm, realm, into: &output)
            builder.append(nonceFor: client, from: factory, atUnixSeconds: now, into: &output)
            if algorithms.count > 0 { builder.append(passwordAlgorithms: algorithms, into: &output) }
            if let serverName { builder.append(.thirdPartyAuthorization, serverName, into: &output) }
        }
        if written { counters.countError(code) } else { counters.countDrop(.outboxFull) }
    }

    // RFC 8656 §5: SOFTWARE in Allocate and Refresh responses; never in those that anyone can provoke.
    private func software(for responder: Responder) -> String? {
        guard responder.isAuthenticated, responder.method == .allocate || responder.method == .refresh else {
            return nil
        }
        return configuration.software
    }

    /// Writes a response; what it needs is taken out of `responder` once, whose copies are dear.
    private mutating func write(
        _ messageClass: STUNClass,
        _ responder: Responder,
        room: Int = responseRoom,
        _ body: (inout STUNMessageBuilder, inout OutputSpan<UInt8>) -> Void
    ) -> Bool {
        let (method, transactionID, fingerprint) = (responder.method, responder.transactionID, responder.fingerprint)
        let protection = responder.protection
        return outbox.append(to: responder.client, room: room) { output in
            var builder = STUNMessageBuilder(method, messageClass, transactionID, into: &output)
            body(&builder, &output)
            do {
                _ = try builder.finish(protectedBy: protection, fingerprint: fingerprint, into: &output)
                return true
            } catch {
                return false
            }
        }
    }
}
