import Crypto
import NetTypes
import Testing

@Suite struct TLSHandshakeTests {
    @Test(arguments: [TLSVersion.tls12, .tls13], [1, 7, .max])
    func `A handshake succeeds in pieces of any size, in both versions`(version: TLSVersion, size: Int) throws {
        var server = try TLSFixture.server(versions: version...version)
        var client = try TLSFixture.client()
        shuttle(&client, &server, atMost: size)
        #expect(try established(&client, &server) == version)
        let name = server.serverName
        #expect(name == "first.example.com")
    }

    @Test func `Nothing can be written or read before the handshake is complete`() throws {
        var server = try TLSFixture.server()
        var client = try TLSFixture.client()
        client.mustNotWrite([1])
        server.mustNotWrite([1])
        client.mustRead([], then: .wouldBlock)
        server.mustRead([], then: .wouldBlock)
        let version = client.version
        let suite = client.cipherSuite
        let clientSpeaks = client.hasPendingOutput
        let serverSpeaks = server.hasPendingOutput
        #expect(version == nil && suite == nil)
        #expect(clientSpeaks && !serverSpeaks)
    }

    @Test(
        arguments: [
            ("first.example.com", 0), ("second.example.com", 1), ("SECOND.example.com", 1), ("a.wild.example.com", 1),
        ]
    )
    func `The server name chooses the identity`(name: String, index: Int) throws {
        let identities = [TLSFixture.first, TLSFixture.second]
        var server = try TLSFixture.server(identities)
        // Trusting one alone shows which one was sent.
        var client = try TLSFixture.client(name, trust: .roots(pem: identities[index].certificatePEM))
        shuttle(&client, &server)
        try established(&client, &server)
    }

    @Test func `An exact name goes before a wildcard, whatever the order`() throws {
        let wild = TLSFixture.identity("*.example.com")
        let exact = TLSFixture.identity("a.example.com")
        for identities in [[wild, exact], [exact, wild]] {
            var server = try TLSFixture.server(identities)
            var client = try TLSFixture.client("a.example.com", trust: .roots(pem: exact.certificatePEM))
            shuttle(&client, &server)
            try established(&client, &server)
        }
    }

    @Test(arguments: ["unknown.example.com", "b.a.wild.example.com", "192.0.2.9"])
    func `A name that no identity has gets the first`(name: String) throws {
        var server = try TLSFixture.server([TLSFixture.second, TLSFixture.first])
        var client = try TLSFixture.client(name, trust: .roots(pem: TLSFixture.second.certificatePEM))
        shuttle(&client, &server)
        let failure = client.failure
        #expect(failure == .certificate(.hostNameMismatch))
    }

    @Test(arguments: ["192.0.2.1", "2001:db8::1"])
    func `A server can be known by its address, and no server name is sent then`(address: String) throws {
        var server = try TLSFixture.server()
        var client = try TLSFixture.client(address)
        shuttle(&client, &server)
        try established(&client, &server)
        let name = server.serverName
        #expect(name == nil)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func `Application protocols are chosen in the server's order among those offered`(version: TLSVersion) throws {
        let choices: [([String], [String], String?)] = [
            (["stun.turn", "http/1.1"], ["http/1.1", "stun.turn"], "stun.turn"),
            (["stun.turn", "http/1.1"], ["h2", "http/1.1"], "http/1.1"),
            (["stun.turn"], [], nil), ([], ["stun.turn"], nil), ([], [], nil),
        ]
        for (served, offered, chosen) in choices {
            // The choice holds for an identity that is not the default, too.
            for name in ["first.example.com", "second.example.com"] {
                var server = try TLSFixture.server(protocols: served)
                var client = try TLSFixture.client(name, protocols: offered, versions: version...version)
                shuttle(&client, &server)
                try established(&client, &server)
                let (mine, theirs) = (client.applicationProtocol, server.applicationProtocol)
                #expect(mine == chosen && theirs == chosen)
            }
        }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func `No common application protocol ends the handshake with its alert (turn 198)`(version: TLSVersion) throws {
        var server = try TLSFixture.server(protocols: ["stun.turn"], versions: version...version)
        var client = try TLSFixture.client(protocols: ["h2", "stun.turnx", "stun.tur"])
        shuttle(&client, &server)
        let (mine, theirs) = (client.failure, server.failure)
        #expect(theirs == .noApplicationProtocol)
        #expect(mine == .alertReceived(.noApplicationProtocol))
    }

    @Test(arguments: ["other.example.com", "wild.example.com", "x.y.wild.example.com", "192.0.2.2", "2001:db8::2"])
    func `A certificate for another name is refused`(name: String) throws {
        var server = try TLSFixture.server([TLSFixture.second])
        var client = try TLSFixture.client(name)
        shuttle(&client, &server)
        let (mine, theirs) = (client.failure, server.failure)
        let isEstablished = client.isEstablished
        #expect(mine == .certificate(.hostNameMismatch))
        #expect(!isEstablished)
        client.mustNotWrite([1])
        guard case .alertReceived = theirs else {
            Issue.record("the server was not told: \(String(describing: theirs))"); return
        }
    }

    @Test func `A certificate that nobody trusted has signed is refused`() throws {
        for trust in [ClientTrust.roots(pem: TLSFixture.second.certificatePEM), .system] {
            var server = try TLSFixture.server([TLSFixture.first])
            var client = try TLSFixture.client(trust: trust)
            shuttle(&client, &server)
            let failure = client.failure
            #expect(failure == .certificate(.selfSigned))
        }
    }

    @Test func `A certificate is refused before and after its time`() throws {
        let cases: [(Int64, CertificateProblem)] = [
            (TLSFixture.first.notBefore - 1, .notYetValid), (TLSFixture.first.notAfter + 1, .expired),
        ]
        for (time, problem) in cases {
            var server = try TLSFixture.server()
            var client = try TLSFixture.client(at: time)
            shuttle(&client, &server)
            let failure = client.failure
            #expect(failure == .certificate(problem))
        }
    }

    @Test func `A client that trusts anything takes any certificate at any time`() throws {
        var server = try TLSFixture.server()
        var client = try TLSFixture.client("nobody.example", trust: .anything, at: 0)
        shuttle(&client, &server)
        try established(&client, &server)
    }

    @Test func `Versions that do not meet are refused by name`() throws {
        var server = try TLSFixture.server(versions: .tls13 ... .tls13)
        var client = try TLSFixture.client(versions: .tls12 ... .tls12)
        shuttle(&client, &server)
        let (mine, theirs) = (client.failure, server.failure)
        #expect(theirs == .noCommonVersion)
        #expect(mine == .alertReceived(.protocolVersion))
    }

    @Test func `An RSA identity is served with the suite that RFC 8489 names (turn 21)`() throws {
        let identity = TLSFixture.identity("rsa.example.com", keyKind: .rsa2048)
        let context = try TLSContext(serverIdentities: [identity])
        #expect(context.cipherSuites.contains("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"))
        #expect(context.cipherSuites.allSatisfy { $0.contains("GCM") || $0.contains("POLY1305") })
        #expect(
            context.cipherSuites.allSatisfy {
                $0.hasPrefix("TLS_ECDHE_") || $0.hasPrefix("TLS_DHE_") || !$0.contains("WITH")
            }
        )
        var server = TLSSession(server: context)
        var client = try TLSFixture.client(
            "rsa.example.com",
            trust: .roots(pem: identity.certificatePEM),
            versions: .tls12 ... .tls12
        )
        shuttle(&client, &server)
        try established(&client, &server)
        let suite = client.cipherSuite
        #expect(suite == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    }

    @Test(arguments: ["", "a..b", "*.example.com", "with space", String(repeating: "n", count: 254), "a\0b", "[::1]"])
    func `A name that is neither host nor address makes a failed client that sends nothing`(name: String) throws {
        var client = try TLSFixture.client(name)
        let (failure, speaks) = (client.failure, client.hasPendingOutput)
        #expect(failure == .invalidServerName && !speaks)
        client.mustRead([], then: .failed(.invalidServerName))
    }

    @Test func `Contexts that cannot work are refused`() {
        #expect(throws: CryptoError.noIdentity) { try TLSContext(serverIdentities: []) }
        #expect(throws: CryptoError.certificateNotPEM) { try TLSContext(clientTrust: .roots(pem: "")) }
        for names in [[""], [String(repeating: "x", count: 256)], Array(repeating: "0123456789", count: 25)] {
            #expect(throws: CryptoError.invalidApplicationProtocol) {
                try TLSContext(clientTrust: .anything, applicationProtocols: names)
            }
            #expect(throws: CryptoError.invalidApplicationProtocol) {
                try TLSContext(serverIdentities: [TLSFixture.first], applicationProtocols: names)
            }
        }
    }

    @Test func `One context serves sessions on many threads at once`() async throws {
        let context = try TLSContext(serverIdentities: [TLSFixture.first, TLSFixture.second])
        let trust = try TLSContext(clientTrust: TLSFixture.roots)
        await withTaskGroup(of: Bool.self) { group in
            for index in 0..<16 {
                group.addTask {
                    var server = TLSSession(server: context)
                    let name = index % 2 == 0 ? "first.example.com" : "second.example.com"
                    var client = TLSSession(client: trust, serverName: name, verifyingAt: TLSFixture.now)
                    shuttle(&client, &server)
                    return server.isEstablished && client.isEstablished && client.write(([1] as [UInt8]).span)
                }
            }
            for await isGood in group { #expect(isGood) }
        }
    }

    /// Expects that both are established and that a byte goes each way; returns the version.
    @discardableResult
    private func established(_ client: inout TLSSession, _ server: inout TLSSession) throws -> TLSVersion {
        let failures = (client.failure, server.failure)
        try #require(failures.0 == nil && failures.1 == nil)
        client.mustWrite([1, 2, 3])
        server.mustWrite([4, 5])
        shuttle(&client, &server)
        server.mustRead([1, 2, 3], then: .wouldBlock)
        client.mustRead([4, 5], then: .wouldBlock)
        let (mine, theirs) = (client.version, server.version)
        #expect(mine == theirs)
        return try #require(mine)
    }
}
