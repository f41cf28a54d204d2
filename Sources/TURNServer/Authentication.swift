import Bytes
import NetTypes
import STUN

/// Who has sent a request, as far as the server has found out (RFC 8489 §9.2.4).
enum Identity {
    /// The user is known and the message is whole; its response is protected with this.
    case authenticated(Account, MessageProtection)
    /// 401 or 438 with realm, nonce and algorithms; with what is wrong if the client has shown wrong credentials, and it
    /// was the client and nobody who only writes its address.
    case challenge(ErrorCode, RefusedCredentials?)
    /// 400 without any of them.
    case malformed
    /// 420: an ACCESS-TOKEN, which nobody has asked for (RFC 7635 §7).
    case unexpectedToken
}

extension TURNServerEngine {
    /// Goes through the checks of RFC 8489 §9.2.4 in their order, which is normative.
    ///
    /// `holder` is the account of the allocation on this 5-tuple, if there is one: its keys stay good for it, also when
    /// temporary credentials have expired since (turn 206). `isRepeated` says that this very request has been accepted
    /// before: its nonce may have become stale between the two.
    func authenticate(
        _ request: borrowing STUNMessageView,
        from client: ClientTuple,
        holder: Account?,
        isRepeated: Bool
    ) -> Identity {
        guard request.hasIntegrity else { return .challenge(.unauthenticated, nil) }
        let claim: Claim
        do {
            guard let found = try Claim(request) else { return .malformed }
            claim = found
        } catch {
            return .malformed
        }
        guard let nonce = request.value(.nonce), let realm = request.value(.realm) else { return .malformed }
        // Bid-down protection, for nonces that announce it (turn 62, 63).
        let (algorithm, isFallback): (PasswordAlgorithm, Bool)
        do {
            switch (try request.passwordAlgorithm(), try request.passwordAlgorithms()) {
            case (nil, nil): (algorithm, isFallback) = (.md5, true)
            case (let chosen?, let offered?)
            where offered == credentials.passwordAlgorithms && offered.contains(chosen):
                (algorithm, isFallback) = (chosen, false)
            default:
                guard SecurityFeatures(nonce: nonce)?.contains(.passwordAlgorithms) != true else { return .malformed }
                (algorithm, isFallback) = (.md5, true)
            }
        } catch {
            return .malformed
        }
        let accounts: [Account]
        let hasToken = request.contains(.accessToken) && (request.method == .allocate || request.method == .refresh)
        if hasToken, let token = request.value(.accessToken) {
            guard let thirdParty = credentials.thirdParty else { return .unexpectedToken }
            guard case .name(let keyID) = claim else { return .malformed }
            accounts = thirdParty.accounts(keyID: keyID, token: token, atUnixSeconds: unixSeconds)
        } else {
            // What a token has made lives as long as that; nothing but another one prolongs it.
            let isOver = request.method == .refresh && holder?.remainingSeconds(atUnixSeconds: unixSeconds) == 0
            accounts = self.accounts(for: claim, holder: isOver ? nil : holder)
        }
        let account = accounts.first { account in
            account.key(for: algorithm).map { request.checkPreferredIntegrity($0) == .valid } ?? false
        }
        // An unknown user costs the same work as a wrong password (turn 70).
        if accounts.isEmpty { _ = request.checkPreferredIntegrity(decoyKey) }
        guard let account, let key = account.key(for: algorithm),
            realm.elementsEqual(credentials.realmBytes.span)
        else {
            // Who has our nonce is where it says to be; otherwise the address may be a victim's.
            let isThere = client.transport != .udp || hasCurrentNonce(nonce, client)
            guard isThere else { return .challenge(.unauthenticated, nil) }
            if account != nil { return .challenge(.unauthenticated, .realm) }
            if hasToken { return .challenge(.unauthenticated, .token) }
            return .challenge(
                .unauthenticated,
                accounts.isEmpty ? credentials.refusal(claim.name, unixSeconds) : .password
            )
        }
        let isCurrent = hasCurrentNonce(nonce, client)
        guard isCurrent || isRepeated else { return .challenge(.staleNonce, nil) }
        return .authenticated(account, isFallback ? .sha1(key) : .sha256(key))
    }

    private func hasCurrentNonce(_ nonce: Span<UInt8>, _ client: ClientTuple) -> Bool {
        nonces.check(nonce, from: client.remote, atUnixSeconds: unixSeconds) == .valid
    }

    private func accounts(for claim: Claim, holder: Account?) -> [Account] {
        switch claim {
        case .name(let name):
            if let holder, holder.username == name { return [holder] }
            return credentials.accounts(name: name, atUnixSeconds: unixSeconds)
        case .hash(let hash):
            if let holder, holder.userhash == hash { return [holder] }
            return credentials.accounts(hash: hash)
        }
    }
}

/// Whom the sender of a request says to be.
private enum Claim {
    case name(String)
    case hash(UserHash)

    var name: String? {
        guard case .name(let name) = self else { return nil }
        return name
    }

    /// Reads USERNAME or, without it, USERHASH; `nil` if there is neither or the name is no text.
    init?(_ request: borrowing STUNMessageView) throws(STUNError) {
        if let name = try request.username() {
            guard let text = String(validating: name.toArray(), as: UTF8.self) else { return nil }
            self = .name(text)
        } else if let hash = try request.userhash() {
            self = .hash(hash)
        } else {
            return nil
        }
    }
}
