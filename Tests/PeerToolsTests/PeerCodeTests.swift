import Connectivity
import ICE
import NetTypes
import Testing

@testable import PeerTools

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
        for count in 0..<text.count {
            #expect(throws: PeerError.self) { try PeerCode(String(text.prefix(count))) }
        }
        for wrong in ["", "hello", "floe2-", "floe2-!!", String(text.prefix(40))] {
            #expect(throws: PeerError.self) { try PeerCode(wrong) }
        }
    }

    @Test(arguments: ["floe1-", "floe3-", "floe12-"])
    func `a code of another version is told as such`(prefix: String) throws {
        let text = try prefix + Self.code().text.dropFirst(6)
        let words =
            "the other end has another version of floe, whose codes begin with \(prefix): ours begin with floe2-"
        let error = #expect(throws: PeerError.self) { try PeerCode(text) }
        #expect(error?.description == words)
        var pasted = PastedCode()
        #expect(pasted.take(text) == .wrong(words))
    }

    @Test func `what a server says does not move the cursor`() {
        #expect(PeerError(said: "the room\u{1B}[2J is\r\n full\u{9B}31m").description == "the room[2J is full31m")
        #expect(PeerError(said: String(repeating: "x", count: 1000)).description.count == 200)
    }

    @Test func `what a server says has no order of its own, nothing hidden and no second line`() {
        let text = "the\u{202E} room\u{2028}is\u{200B} \u{2066}fu\u{FEFF}ll\u{2029}\u{E0041}"
        #expect(PeerError(said: text).description == "the roomis full")
    }

    @Test func `a code is pasted in lines, after something else, or damaged and then whole`() throws {
        let code = try Self.code()
        let text = code.text
        var pasted = PastedCode()
        #expect(pasted.take("\n") == .more)
        #expect(pasted.take("hello\n") == .wrong("this is no code: a code begins with floe2-"))
        #expect(pasted.take(text.prefix(30) + "\n") == .more)
        #expect(pasted.take("\n") == .wrong("the code is damaged: copy all of it, in one piece"))
        #expect(pasted.take(text.prefix(30) + "\n") == .more)
        #expect(pasted.take("  " + text.dropFirst(30).prefix(30) + "\r\n") == .more)
        #expect(pasted.take(text.dropFirst(60) + "\n") == .code(code))
    }
}
