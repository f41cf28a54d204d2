import Bytes
import Crypto
import STUN

/// The authentication attributes of a request, each of which a rule may change or leave out.
struct Login {
    var username: [UInt8]?
    var userhash: [UInt8]?
    var realm: [UInt8]?
    var nonce: [UInt8]?
    /// PASSWORD-ALGORITHMS as the server has sent it.
    var algorithms: [UInt8]?
    /// PASSWORD-ALGORITHM.
    var algorithm: PasswordAlgorithm?
    var key: IntegrityKey
    /// ACCESS-TOKEN, for those who have one in place of a password.
    var accessToken: [UInt8]?
    /// Which attribute protects the request.
    var integrity: AttributeType

    let account: ConformanceAccount
    /// What the server offered, whatever the request says of it.
    let offered: [UInt8]?

    /// Answers a 401 as RFC 8489 §9.2.5 has it: SHA-256 if it is offered, else MD5.
    init(_ account: ConformanceAccount, answering challenge: Reply) throws(Finding) {
        guard let realm = challenge.value(.realm), let nonce = challenge.value(.nonce) else {
            throw .failed("a challenge has REALM and NONCE, \(challenge.name) came")
        }
        let list = challenge.read { (view) throws(STUNError) in try view.passwordAlgorithms() }
        let announces = Self.features(of: nonce)?.contains(.passwordAlgorithms) ?? false
        let usesSHA256 = announces && list?.contains(.sha256) == true
        self.account = account
        offered = announces ? challenge.value(.passwordAlgorithms) : nil
        username = Array(account.username.utf8)
        self.realm = realm
        self.nonce = nonce
        algorithms = usesSHA256 ? offered : nil
        algorithm = usesSHA256 ? .sha256 : nil
        key = try Self.key(account, realm: realm, usesSHA256 ? .sha256 : .md5)
        integrity = usesSHA256 ? .messageIntegritySHA256 : .messageIntegrity
    }

    /// The features that the nonce announces; `nil` if it says nothing of them, as those of older servers.
    var features: SecurityFeatures? { nonce.flatMap(Self.features(of:)) }

    static func features(of nonce: [UInt8]) -> SecurityFeatures? { SecurityFeatures(nonce: nonce.span) }

    /// The same login as a client has that knows nothing of algorithms: MD5 and SHA-1 (RFC 8489 §9.2.4).
    func fallingBack() throws(Finding) -> Login {
        var login = self
        (login.algorithms, login.algorithm, login.integrity) = (nil, nil, .messageIntegrity)
        login.key = try Self.key(account, realm: realm ?? [], .md5)
        return login
    }

    /// The same login with another password.
    func withPassword(_ password: String) throws(Finding) -> Login {
        var login = self
        let account = ConformanceAccount(username: account.username, password: password)
        login.key = try Self.key(account, realm: realm ?? [], algorithm ?? .md5)
        return login
    }

    /// Adds everything to a message but what protects it.
    func describe(in message: inout RawMessage) {
        if let username { message.add(RawAttribute(.username, username)) }
        if let userhash { message.add(RawAttribute(.userhash, userhash)) }
        if let accessToken { message.add(RawAttribute(.accessToken, accessToken)) }
        if let realm { message.add(RawAttribute(.realm, realm)) }
        if let nonce { message.add(RawAttribute(.nonce, nonce)) }
        if let algorithms { message.add(RawAttribute(.passwordAlgorithms, algorithms)) }
        if let algorithm {
            message.add(RawAttribute(.passwordAlgorithm, (UInt32(algorithm.rawValue) << 16).bigEndianBytes))
        }
    }

    /// Adds everything to a message.
    func sign(_ message: inout RawMessage) {
        describe(in: &message)
        message.addIntegrity(integrity, key)
    }

    /// Checks what protects a response.
    func check(_ reply: Reply) -> ProtectionCheck {
        reply.check { view in
            integrity == .messageIntegrity ? view.checkMessageIntegrity(key) : view.checkMessageIntegritySHA256(key)
        }
    }

    static func key(
        _ account: ConformanceAccount,
        realm: [UInt8],
        _ algorithm: PasswordAlgorithm
    ) throws(Finding) -> IntegrityKey {
        do throws(CredentialError) {
            let bytes = try LongTermCredentials.keyBytes(
                algorithm,
                username: account.username,
                realm: String(decoding: realm, as: UTF8.self),
                password: account.password
            )
            return IntegrityKey(bytes.span)
        } catch {
            throw .blocked("no key can be made of user, realm and password: \(error)")
        }
    }
}
