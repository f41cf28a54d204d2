import NetTypes
import TestSupport
import Testing

@testable import ICE

@Suite struct CandidateTextTests {
    @Test func `A line of each type is read and written again (ice 108, 110)`() throws {
        let lines = [
            "candidate:1 1 udp 2130706431 10.0.1.1 8998 typ host",
            "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
            "candidate:a+/Z 256 udp 1 2001:db8::1 9 typ relay raddr :: rport 9 generation 3 ufrag abcd network-id 2 network-cost 50",
            "candidate:7 2 udp 5 10.0.0.1 1 typ prflx raddr 0.0.0.0 rport 9",
            "candidate:1 1 tcp 1518280447 10.0.0.1 9 typ host tcptype active",
            "candidate:1 1 tcp 1518214911 10.0.0.1 4000 typ host tcptype passive",
            "candidate:1 1 tcp 1518149375 10.0.0.1 4001 typ host tcptype so x-made-up yes",
            "candidate:1 1 udp 2130706431 3f2504e0-4f89-41d3-9a0c-0305e82c3301.local 8998 typ host",
        ]
        for line in lines {
            let candidate = try Candidate(text: line)
            #expect(candidate.text == line)
            let again = try Candidate(text: "a=" + candidate.text + "\r\n")
            #expect(again == candidate)
        }
    }

    @Test func `Fields mean what they say (ice 108, 122)`() throws {
        let candidate = try Candidate(
            text: "candidate:f 2 TCP 77 192.0.2.1 5 typ srflx raddr 10.0.0.9 rport 6 tcptype so a b generation 1 c"
        )
        #expect(candidate.component == 2 && candidate.priority == 77 && candidate.transport == .tcp)
        #expect(candidate.tcpType == .simultaneousOpen && candidate.generation == 1)
        #expect(candidate.related == SocketAddress("10.0.0.9:6"))
        #expect(candidate.extensions.map(\.name) == ["a", "c"])
    }

    @Test(arguments: [
        ("candidate:1 1 udp 1 10.0.0.1 1 typ", CandidateError.tooFewFields(7)),
        ("candidate: 1 udp 1 10.0.0.1 1 typ host", .tooFewFields(7)),
        ("candidate:a-b 1 udp 1 10.0.0.1 1 typ host", .badFoundation),
        ("candidate:123456789012345678901234567890123 1 udp 1 10.0.0.1 1 typ host", .badFoundation),
        ("candidate:1 0 udp 1 10.0.0.1 1 typ host", .badComponent),
        ("candidate:1 257 udp 1 10.0.0.1 1 typ host", .badComponent),
        ("candidate:1 1 sctp 1 10.0.0.1 1 typ host", .unknownTransport),
        ("candidate:1 1 udp 0 10.0.0.1 1 typ host", .badPriority),
        ("candidate:1 1 udp 2147483648 10.0.0.1 1 typ host", .badPriority),
        ("candidate:1 1 udp -1 10.0.0.1 1 typ host", .badPriority),
        ("candidate:1 1 udp 1 10.0.0.256 1 typ host", .badAddress),
        ("candidate:1 1 udp 1 2001:::1 1 typ host", .badAddress),
        ("candidate:1 1 udp 1 10.0.0.1 65536 typ host", .badPort),
        ("candidate:1 1 udp 1 10.0.0.1 1 typ magic", .unknownType),
        ("candidate:1 1 udp 1 10.0.0.1 1 type host", .unknownType),
        ("candidate:1 1 udp 1 10.0.0.1 1 typ srflx raddr ! rport 1", .badRelatedAddress),
        ("candidate:1 1 tcp 1 10.0.0.1 1 typ host", .badTCPType),
        ("candidate:1 1 tcp 1 10.0.0.1 1 typ host tcptype other", .badTCPType),
        ("candidate:1 1 udp 1 10.0.0.1 1 typ host ufrag a", .badUsernameFragment),
    ])
    func `A line that breaks the grammar is refused by its field (ice 108, 109)`(line: String, error: CandidateError) {
        #expect(throws: error) { try Candidate(text: line) }
    }

    @Test func `A host candidate has no related address, others always have one (ice 110)`() throws {
        let host = try Candidate(text: "candidate:1 1 udp 1 10.0.0.1 1 typ host raddr 10.0.0.2 rport 3")
        #expect(host.related == nil && !host.text.contains("raddr"))
        var hidden = try Candidate(text: "candidate:1 1 udp 1 2001:db8::1 1 typ srflx")
        #expect(hidden.text.hasSuffix("raddr :: rport 9"))
        hidden.address = .ip(at("192.0.2.1:1").ip)
        #expect(hidden.text.hasSuffix("raddr 0.0.0.0 rport 9"))
    }

    @Test func `A line of any length and any bytes never traps`() {
        for seed in seeds(3000) {
            var entropy = Entropy.seeded(seed)
            var words = "candidate:1 1 udp 2130706431 10.0.1.1 8998 typ srflx raddr 1.2.3.4 rport 5 tcptype so".split(
                separator: " "
            ).map(String.init)
            for _ in 0..<3 {
                let place = Int(entropy.next() % UInt64(words.count))
                switch entropy.next() % 3 {
                case 0: words.remove(at: place)
                case 1: words[place] = String(decoding: entropy.bytes(4), as: UTF8.self)
                default: words.insert(words[place], at: place)
                }
            }
            if let candidate = try? Candidate(text: words.joined(separator: " ")) {
                #expect((try? Candidate(text: candidate.text)) == candidate)
            }
        }
        let long = String(repeating: "a", count: 3000)
        #expect(throws: CandidateError.tooLong) { try Candidate(text: long) }
    }

    @Test func `Descriptions: the media level wins, lite and pacing belong to the session (ice 78, 86, 91, 111, 116)`()
        throws
    {
        let read = try ICEDescription(
            session: ["a=ice-ufrag:sess", "a=ice-pwd:0123456789012345678901", "a=ice-lite", "a=ice-pacing:20"],
            media: ["a=ice-ufrag:medi", "a=ice-pwd:abcdefghijklmnopqrstuv", "a=ice-options:trickle ice2 unheard-of"]
        )
        #expect(read.credentials.usernameFragment == "medi")
        #expect(read.isLite && read.pacing == .milliseconds(20))
        #expect(read.options == [.trickle, .ice2])
        let misplaced = try ICEDescription(
            session: ["a=ice-ufrag:sess", "a=ice-pwd:0123456789012345678901"],
            media: ["a=ice-lite", "a=ice-pacing:20"]
        )
        #expect(!misplaced.isLite && misplaced.pacing == nil)
        #expect(throws: CandidateError.badPassword) { try ICEDescription(session: ["ice-ufrag:abcd"]) }
        #expect(throws: CandidateError.badUsernameFragment) {
            try ICEDescription(session: ["ice-ufrag:abc", "ice-pwd:0123456789012345678901"])
        }
        let own = ICEAgent(ICEConfiguration(role: .controlling), at: .zero).localDescription
        #expect(own.attributeLines.contains("ice-pacing:20"))
        #expect(own.options.isSuperset(of: [.ice2, .trickle, .renomination]))
        #expect(try ICEDescription(session: own.attributeLines) == own)
    }

    @Test func `Credentials have 24 and 128 random bits at least and differ (ice 25)`() throws {
        var entropy = Entropy.system
        let one = ICECredentials(using: &entropy)
        let other = ICECredentials(using: &entropy)
        #expect(one.usernameFragment != other.usernameFragment && one.password != other.password)
        #expect(one.usernameFragment.utf8.count * 6 >= 24 && one.password.utf8.count * 6 >= 128)
        _ = try ICECredentials(usernameFragment: one.usernameFragment, password: one.password)
        #expect(!"\(one)".contains(one.password))
    }
}
