import Connectivity
import ICE
import NetTypes
import PeerTools
import Testing

@Suite struct PeerCodeTests {
    private static func code() throws -> PeerCode {
        let credentials = try ICECredentials(usernameFragment: "abcd", password: "abcdefghijklmnopqrstuv")
        let description = ICEDescription(credentials: credentials, options: [.ice2], pacing: .milliseconds(20))
        let candidate = try Candidate(text: "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host")
        return PeerCode(description, [candidate])
    }

    @Test func `a code says what it was made of`() throws {
        let code = try Self.code()
        #expect(try PeerCode(code.text) == code)
        #expect(try PeerCode(lines: code.lines) == code)
    }

    @Test func `line breaks in a code do not matter`() throws {
        let text = try Self.code().text
        let broken = " \n" + text.prefix(20) + "\r\n  " + text.dropFirst(20) + "\n"
        #expect(try PeerCode(broken) == Self.code())
    }

    @Test func `what is no code is refused with a sentence`() throws {
        let text = try Self.code().text
        for wrong in ["", "hello", "floe1-", "floe1-!!", String(text.prefix(40)), "floe2-" + text.dropFirst(6)] {
            #expect(throws: PeerError.self) { try PeerCode(wrong) }
        }
    }
}
