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
        let hasToken = request.contains(.accessToken) && (request.method == .allocate || request.method == .refresh)
        // What a token has made lives as long as that; nothing but another one prolongs it.
        let isOver = request.method == .refresh && holder?.remainingSeconds(atUnixSeconds: unixSeconds) == 0
        let claim: Claim
        do {
            guard let found = try Claim(request, holder: isOver || hasToken ? nil : holder) else { return .malformed }
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
        let accounts: Candidates
        if hasToken, let token = request.value(.accessToken) {
            guard let thirdParty = credentials.thirdParty else { return .unexpectedToken }
            guard case .name(let keyID) = claim else { return .malformed }
            accounts = Candidates(thirdParty.accounts(keyID: keyID, token: token, atUnixSeconds: unixSeconds))
        } else {
            switch claim {
            case .holder(let holder): accounts = .one(holder)
            case .name(let name): accounts = credentials.accounts(name: name, atUnixSeconds: unixSeconds)
            case .hash(let hash): accounts = credentials.accounts(hash: hash)
            }
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
}

/// Whom the sender of a request says to be.
private enum Claim {
    /// The one whose allocation it is.
    case holder(Account)
    case name(String)
    case hash(UserHash)

    var name: String? {
        switch self {
        case .holder(let account): account.username
        case .name(let name): name
        case .hash: nil
        }
    }

    /// Reads USERNAME or, without it, USERHASH; `nil` if there is neither or the name is no text.
    init?(_ request: borrowing STUNMessageView, holder: Account?) throws(STUNError) {
        if let name = try request.username() {
            if let holder, holder.isNamed(name) {
                self = .holder(holder)
            } else {
                guard let text = Self.text(name) else { return nil }
                self = .name(text)
            }
        } else if let hash = try request.userhash() {
            if let holder, holder.userhash == hash { self = .holder(holder) } else { self = .hash(hash) }
        } else {
            return nil
        }
    }

    private static func text(_ name: Span<UInt8>) -> String? {
        do { return String(copying: try UTF8Span(validating: name)) } catch { return nil }
    }
}

/// The accounts whose key a request may have been made with; mostly one, for which no array is made.
enum Candidates {
    case none
    case one(Account)
    case several([Account])

    init(_ accounts: [Account]) {
        self = accounts.isEmpty ? .none : .several(accounts)
    }

    var isEmpty: Bool {
        guard case .none = self else { return false }
        return true
    }

    func first(where isRight: (Account) -> Bool) -> Account? {
        switch self {
        case .none: nil
        case .one(let account): isRight(account) ? account : nil
        case .several(let accounts): accounts.first(where: isRight)
        }
    }
}
