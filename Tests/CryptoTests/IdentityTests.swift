import Crypto
import NetTypes
import Testing

@Suite struct IdentityTests {
    static let day: Int64 = 86_400

    @Test(arguments: [Identity.KeyKind.ecdsaP256, .rsa2048])
    func `A self-signed identity is what was asked for and can be read again`(kind: Identity.KeyKind) throws {
        let addresses = try [#require(IPAddress("192.0.2.7")), #require(IPAddress("2001:db8::7"))]
        let identity = try Identity.selfSigned(
            commonName: "turn server",
            dnsNames: ["turn.example.com", "*.EXAMPLE.org"],
            ipAddresses: addresses,
            validForDays: 30,
            notBefore: TLSFixture.now,
            keyKind: kind
        )
        let read = try Identity(certificatePEM: identity.certificatePEM, privateKeyPEM: identity.privateKeyPEM)
        #expect(read.fingerprintSHA256 == identity.fingerprintSHA256)
        #expect(read.dnsNames == ["turn.example.com", "*.example.org"])
        #expect(read.ipAddresses == addresses)
        #expect(read.notBefore == TLSFixture.now)
        #expect(read.notAfter == TLSFixture.now + 30 * Self.day)
        let both = identity.privateKeyPEM + identity.certificatePEM
        #expect(try Identity(certificatePEM: both, privateKeyPEM: both).fingerprintSHA256 == identity.fingerprintSHA256)
    }

    @Test func `A fingerprint is 32 pairs of capital digits, and each identity has its own`() throws {
        let fingerprint = TLSFixture.first.fingerprintSHA256
        let pairs = fingerprint.split(separator: ":")
        #expect(pairs.count == 32)
        #expect(pairs.allSatisfy { $0.count == 2 && $0 == $0.uppercased() && UInt8($0, radix: 16) != nil })
        #expect(fingerprint != TLSFixture.second.fingerprintSHA256)
    }

    @Test func `A known certificate has the names, times and fingerprint that other tools see`() throws {
        let identity = try Identity(certificatePEM: knownCertificate, privateKeyPEM: knownKey)
        #expect(identity.fingerprintSHA256 == knownFingerprint)
        #expect(identity.dnsNames == ["known.example.com"])
        #expect(identity.ipAddresses == [IPAddress(ipv4: 0xC000_0201)])
        #expect(identity.notBefore == knownNotBefore)
        #expect(identity.notAfter == knownNotAfter)
    }

    @Test func `Expiry and early days are told, not refused`() {
        let identity = TLSFixture.first
        #expect(!identity.isExpired(at: TLSFixture.now))
        #expect(!identity.isExpired(at: identity.notAfter))
        #expect(identity.isExpired(at: identity.notAfter + 1))
        #expect(identity.isNotYetValid(at: identity.notBefore - 1))
        #expect(!identity.isNotYetValid(at: identity.notBefore))
    }

    @Test func `Each way in which the files can be wrong has its own error`() {
        let good = TLSFixture.first
        let other = TLSFixture.second
        let damaged = good.certificatePEM.replacing("MII", with: "MIJ")
        func read(_ certificate: String, _ key: String) throws(CryptoError) {
            _ = try Identity(certificatePEM: certificate, privateKeyPEM: key)
        }
        #expect(throws: CryptoError.certificateNotPEM) { try read("", good.privateKeyPEM) }
        #expect(throws: CryptoError.certificateNotPEM) { try read("hello\n", good.privateKeyPEM) }
        #expect(throws: CryptoError.certificateNotPEM) { try read(good.privateKeyPEM, good.privateKeyPEM) }
        #expect(throws: CryptoError.certificateUnreadable(index: 0)) { try read(damaged, good.privateKeyPEM) }
        #expect(throws: CryptoError.certificateUnreadable(index: 1)) {
            try read(good.certificatePEM + damaged, good.privateKeyPEM)
        }
        #expect(throws: CryptoError.privateKeyNotPEM) { try read(good.certificatePEM, "") }
        #expect(throws: CryptoError.privateKeyNotPEM) { try read(good.certificatePEM, good.certificatePEM) }
        #expect(throws: CryptoError.privateKeyUnreadable) {
            try read(good.certificatePEM, String(good.privateKeyPEM.prefix(60)) + "\n-----END PRIVATE KEY-----\n")
        }
        #expect(throws: CryptoError.privateKeyEncrypted) { try read(good.certificatePEM, encryptedKey) }
        #expect(throws: CryptoError.privateKeyMismatch(belongsTo: nil)) {
            try read(good.certificatePEM, other.privateKeyPEM)
        }
        #expect(throws: CryptoError.privateKeyMismatch(belongsTo: 1)) {
            try read(good.certificatePEM + other.certificatePEM, other.privateKeyPEM)
        }
    }

    @Test func `A chain may follow the certificate`() throws {
        let chain = TLSFixture.first.certificatePEM + TLSFixture.second.certificatePEM
        let identity = try Identity(certificatePEM: chain, privateKeyPEM: TLSFixture.first.privateKeyPEM)
        #expect(identity.fingerprintSHA256 == TLSFixture.first.fingerprintSHA256)
    }

    @Test(
        arguments: [
            ("", ["a.example"]), (String(repeating: "n", count: 65), ["a.example"]), ("name", []), ("name", [""]),
            ("name", ["a..example"]), ("name", ["a,DNS:b.example"]), ("name", ["b.*.example"]), ("name", ["*"]),
            ("name", [String(repeating: "l", count: 64)]), ("name", ["ä.example"]),
        ]
    )
    func `Names that are not host names make no certificate`(commonName: String, dnsNames: [String]) {
        #expect(throws: CryptoError.invalidName) {
            try Identity.selfSigned(
                commonName: commonName,
                dnsNames: dnsNames,
                validForDays: 1,
                notBefore: TLSFixture.now
            )
        }
    }

    @Test(arguments: [
        (0, TLSFixture.now), (-1, 0), (1, -1), (1, 253_402_300_799), (1_000_001, 0), (Int.max, Int64.max),
    ])
    func `Impossible periods of validity make no certificate`(days: Int, notBefore: Int64) {
        #expect(throws: CryptoError.invalidValidity) {
            try Identity.selfSigned(
                commonName: "name",
                dnsNames: ["a.example"],
                validForDays: days,
                notBefore: notBefore
            )
        }
    }

    @Test func `An identity does not show its key`() {
        var text = "\(TLSFixture.first)"
        dump(TLSFixture.first, to: &text)
        #expect(!text.contains("PRIVATE"))
        #expect(text.contains(TLSFixture.first.fingerprintSHA256))
    }
}
