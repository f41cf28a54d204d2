import NetTypes
import STUN
import TURNServer
import Testing

@Suite struct ConfigurationTests {
    private func problem(
        _ change: (inout TURNServerConfiguration) -> Void
    ) throws -> TURNServerConfigurationError? {
        var configuration = try TestServer.configuration()
        change(&configuration)
        do throws(TURNServerConfigurationError) {
            try configuration.validate()
            return nil
        } catch {
            #expect(!error.description.isEmpty)
            return error
        }
    }

    @Test func `the defaults are usable`() throws {
        #expect(try problem { _ in } == nil)
    }

    @Test func `what cannot work is refused with its reason`() throws {
        let mixed = RelayAddress(local: ip("192.0.2.1"), external: ip("2001:db8::1"))
        #expect(try problem { $0.relayAddresses = [] } == .noRelayAddress)
        #expect(try problem { $0.relayAddresses = [mixed] } == .mixedFamilies(mixed))
        #expect(
            try problem { $0.relayAddresses = [RelayAddress(local: ip("0.0.0.0"))] }
                == .unusableRelayAddress(ip("0.0.0.0"))
        )
        #expect(
            try problem { $0.relayAddresses = [RelayAddress(local: ip("ff02::1"))] }
                == .unusableRelayAddress(ip("ff02::1"))
        )
        #expect(
            try problem { $0.relayAddresses.append(TestServer.relay4) }
                == .repeatedRelayAddress(TestServer.relay4.local)
        )
        #expect(try problem { $0.relayPorts = 1023...2000 } == .wellKnownPorts(1023...2000), "turn 110")
        #expect(try problem { $0.lifetimes.default = .seconds(4000) } == .badLifetimes)
        #expect(try problem { $0.lifetimes.reservation = .seconds(29) } == .badLifetimes, "turn 109")
        #expect(try problem { $0.credentials = TURNServerCredentials(realm: "") } == .badRealm)
        #expect(try problem { $0.software = String(repeating: "x", count: 128) } == .softwareTooLong)
        let other = try LongTermCredentials(username: "a", realm: "b", password: "c")
        #expect(
            try problem { $0.credentials = TURNServerCredentials(realm: "d", users: [other]) } == .userOfAnotherRealm
        )
    }

    @Test func `a nonce secret that is too short is refused`() throws {
        var configuration = try TestServer.configuration()
        configuration.credentials = TURNServerCredentials(realm: "r", nonceSecret: [1])
        #expect(throws: TURNServerConfigurationError.badNonceSecret) { try TestServer(configuration) }
    }
}
