import Bytes
import NetTypes
import TestSupport
import Testing

@testable import SignalingMessages

@Suite("Signaling messages")
struct MessageTests {
    static let clientFrames: [ClientFrame] = [
        ClientFrame(.join(room: "a-Z_0.~", name: "Ada \"Countess\" \u{1F468}\u{200D}\u{1F680} \\ /")),
        ClientFrame(.resume(session: "s3cret"), acknowledged: 0),
        ClientFrame(.description(to: "peer", offer), sequence: 1, acknowledged: 7),
        ClientFrame(.description(to: "peer", SessionDescription(type: .rollback, sdp: "")), sequence: 2),
        ClientFrame(.candidate(to: "peer", someCandidate), sequence: 3),
        ClientFrame(
            .candidate(
                to: "peer",
                TrickledCandidate(candidate: "", sdpMid: nil, sdpMLineIndex: nil, usernameFragment: nil)
            ),
            sequence: 4
        ),
        ClientFrame(.candidate(to: "peer", nil), sequence: 9_007_199_254_740_991),
        ClientFrame(.refresh), ClientFrame(.ping(id: 9_007_199_254_740_991)),
        ClientFrame(.acknowledge, acknowledged: 12),
        ClientFrame(.leave),
    ]

    static let welcome = ServerMessage.Welcome(
        id: "me",
        room: "room",
        peers: [SignalingPeer(id: "a", name: "Ada"), SignalingPeer(id: "b", name: "\u{0627}\u{0644}", isAway: true)],
        iceServers: ICEServerList(
            iceServers: [
                ICEServer(urls: ["stun:h:1"]), ICEServer(urls: ["turn:h:1"], username: "1:u", credential: "c/+="),
            ],
            ttlSeconds: 86400
        ),
        heartbeatSeconds: 15,
        limits: AdvertisedLimits(
            messageBytes: 1,
            messagesPerSecond: 2,
            messageBurst: 3,
            peersPerRoom: 4,
            nameCharacters: 5,
            replayMessages: 6,
            resumeSeconds: 7
        )
    )

    static let serverFrames: [ServerFrame] = [
        ServerFrame(.joined(session: "s", welcome)),
        ServerFrame(.resumed(replay: .complete, welcome), acknowledged: 3),
        ServerFrame(.resumed(replay: .lost, welcome), acknowledged: 0),
        ServerFrame(.peerJoined(SignalingPeer(id: "x", name: "Bob")), sequence: 1),
        ServerFrame(.peerLeft(id: "x", reason: .timeout), sequence: 2),
        ServerFrame(.description(from: "x", offer), sequence: 3),
        ServerFrame(.candidate(from: "x", someCandidate), sequence: 4),
        ServerFrame(.candidate(from: "x", nil), sequence: 5),
        ServerFrame(.iceServers(ICEServerList(iceServers: [], ttlSeconds: 60)), acknowledged: 1),
        ServerFrame(.pong(id: 5)),
        ServerFrame(.acknowledge, acknowledged: 44), ServerFrame(.error(.sequenceGap, message: "No.", sequence: 8)),
        ServerFrame(.error(SignalingErrorCode(rawValue: "ofTheFuture"), message: "?", sequence: nil)),
    ]

    @Test(arguments: clientFrames)
    func `what a client says is read as it was written`(frame: ClientFrame) throws {
        #expect(try ClientFrame(decoding: frame.text) == frame)
    }

    @Test(arguments: serverFrames)
    func `what the server says is read as it was written`(frame: ServerFrame) throws {
        #expect(try ServerFrame(decoding: frame.text) == frame)
    }

    @Test func `every type has a name and a sample`() {
        #expect(Set(Self.clientFrames.map(\.message.typeName)) == Set(ClientMessage.typeNames))
        #expect(Set(Self.serverFrames.map(\.message.typeName)) == Set(ServerMessage.typeNames))
        #expect(Self.clientFrames.allSatisfy { ($0.sequence != nil) == $0.message.isSequenced })
        #expect(Self.serverFrames.allSatisfy { ($0.sequence != nil) == $0.message.isSequenced })
        #expect(Set(SignalingErrorCode.all).count == 13)
        #expect(Set(SignalingCloseCode.all).count == 11)
    }

    @Test func `messages are spelt as browsers spell them`() {
        #expect(
            ClientFrame(.candidate(to: "p", someCandidate), sequence: 2).text
                == #"{"candidate":{"candidate":"candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host","#
                + #""sdpMLineIndex":0,"sdpMid":"0","usernameFragment":"abcd"},"seq":2,"to":"p","type":"candidate"}"#
        )
        #expect(
            ServerFrame(.candidate(from: "p", nil), sequence: 2).text
                == #"{"candidate":null,"from":"p","seq":2,"type":"candidate"}"#
        )
        #expect(ServerFrame(.pong(id: 5), acknowledged: 1).text == #"{"ack":1,"id":5,"type":"pong"}"#)
        #expect(
            ServerFrame(.iceServers(ICEServerList(iceServers: [ICEServer(urls: ["stun:h:1"])], ttlSeconds: 9))).text
                == #"{"iceServers":[{"urls":["stun:h:1"]}],"ttlSeconds":9,"type":"iceServers"}"#
        )
    }

    @Test func `a browser's own way to write is understood`() throws {
        let text =
            #"{"type":"description","to":"p","seq":1,"extra":{"deep":[1,{}]},"description":{"type":"rollback"}}"#
        #expect(try ClientFrame(decoding: text).message == .description(to: "p", .init(type: .rollback, sdp: "")))
        let spaced = " {\"type\" : \"ping\",\n\t\"id\": 3.0, \"ack\":null }\r\n"
        #expect(try ClientFrame(decoding: spaced) == ClientFrame(.ping(id: 3)))
        let escaped = #"{"type":"join","version":1,"room":"r","name":"\u00c4\ud83d\ude00"}"#
        #expect(try ClientFrame(decoding: escaped).message == .join(room: "r", name: "Ä😀"))
        let sequenced = #"{"type":"leave","seq":77}"#
        #expect(try ClientFrame(decoding: sequenced) == ClientFrame(.leave))
    }

    @Test(arguments: [
        ("", SignalingDecodeError.notJSON), ("{", .notJSON), ("nonsense", .notJSON), ("{}{}", .notJSON),
        ("{\"type\":\"leave\"", .notJSON), ("{'type':'leave'}", .notJSON), ("[]", .notAnObject), ("3", .notAnObject),
        ("null", .notAnObject), ("\"leave\"", .notAnObject), ("{}", .missingField("type")),
        (#"{"type":null}"#, .wrongKind(field: "type")), (#"{"type":7}"#, .wrongKind(field: "type")),
        (#"{"type":"nonsense"}"#, .unknownType), (#"{"type":"joined"}"#, .unknownType),
        (#"{"type":"Leave"}"#, .unknownType),
        (#"{"type":"join","room":"r","name":"n"}"#, .missingField("version")),
        (#"{"type":"join","version":"1","room":"r","name":"n"}"#, .wrongKind(field: "version")),
        (#"{"type":"join","version":2}"#, .unsupportedVersion), (#"{"type":"join","version":-1}"#, .unsupportedVersion),
        (#"{"type":"resume","version":9}"#, .unsupportedVersion),
        (#"{"type":"join","version":1,"name":"n"}"#, .missingField("room")),
        (#"{"type":"join","version":1,"room":"r"}"#, .missingField("name")),
        (#"{"type":"join","version":1,"room":["r"],"name":"n"}"#, .wrongKind(field: "room")),
        (#"{"type":"resume","version":1,"ack":0}"#, .missingField("session")),
        (#"{"type":"resume","version":1,"session":"s"}"#, .missingField("ack")),
        (#"{"type":"ack"}"#, .missingField("ack")),
        (#"{"type":"ack","ack":"1"}"#, .wrongKind(field: "ack")),
        (#"{"type":"ack","ack":9007199254740992}"#, .badValue(field: "ack")),
        (#"{"type":"ping"}"#, .missingField("id")),
        (#"{"type":"candidate","to":"p","candidate":null}"#, .missingField("seq")),
        (#"{"type":"candidate","to":"p","candidate":null,"seq":0}"#, .badValue(field: "seq")),
        (#"{"type":"candidate","to":"p","seq":1}"#, .missingField("candidate")),
        (#"{"type":"candidate","to":"p","seq":1,"candidate":"x"}"#, .wrongKind(field: "candidate")),
        (#"{"type":"candidate","to":"p","seq":1,"candidate":{}}"#, .missingField("candidate.candidate")),
        (#"{"type":"candidate","seq":1,"candidate":null}"#, .missingField("to")),
        (
            #"{"type":"candidate","to":"p","seq":1,"candidate":{"candidate":"","sdpMid":0}}"#,
            .wrongKind(field: "candidate.sdpMid")
        ), (#"{"type":"description","to":"p","seq":1}"#, .missingField("description")),
        (#"{"type":"description","to":"p","seq":1,"description":{"type":"offer"}}"#, .missingField("description.sdp")),
        (
            #"{"type":"description","to":"p","seq":1,"description":{"type":"Offer","sdp":""}}"#,
            .badValue(field: "description.type")
        ),
    ])
    func `a wrong message is refused with the name of the field`(text: String, expected: SignalingDecodeError) {
        #expect(throws: expected) { try ClientFrame(decoding: text) }
        #expect(expected.description.hasSuffix("."))
    }

    @Test(arguments: ["-1", "1.5", "1e300", "18446744073709551616", "true", "{}"])
    func `a number that is no count is refused`(number: String) {
        for text in [#"{"type":"ack","ack":\#(number)}"#, #"{"type":"ping","id":\#(number)}"#] {
            #expect(throws: SignalingDecodeError.self) { try ClientFrame(decoding: text) }
        }
    }

    @Test(arguments: ["[", "{\"a\":", "[{\"a\":"])
    func `deep nesting is an error and no crash`(opening: String) {
        let depth = 65536 / opening.utf8.count
        #expect(throws: SignalingDecodeError.notJSON) {
            try ClientFrame(decoding: String(repeating: opening, count: depth))
        }
        // In a field that is ignored, and closed as it should be.
        let nested = String(repeating: "[", count: 30000) + String(repeating: "]", count: 30000)
        #expect(throws: SignalingDecodeError.notJSON) {
            try ClientFrame(decoding: #"{"type":"leave","extra":\#(nested)}"#)
        }
    }

    @Test func `an error says the number of the message only if it has one`() {
        #expect(ClientFrame.sequence(in: #"{"type":"nonsense","seq":41}"#) == 41)
        for text in [#"{"seq":-1}"#, #"{"seq":"1"}"#, #"{"seq":9007199254740992}"#, "{", "[]", "{}"] {
            #expect(ClientFrame.sequence(in: text) == nil)
        }
    }

    @Test(arguments: seeds(20))
    func `mutated messages are read as something or refused`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let samples = Self.clientFrames.map { Array($0.text.utf8) } + Self.serverFrames.map { Array($0.text.utf8) }
        var understood = 0
        for _ in 0..<1000 {
            let text = String(decoding: mutated(samples, &entropy), as: UTF8.self)
            if let frame = try? ClientFrame(decoding: text) {
                understood += 1
                #expect((try? ClientFrame(decoding: frame.text)) == frame)
            }
            if let frame = try? ServerFrame(decoding: text) {
                #expect((try? ServerFrame(decoding: frame.text)) == frame)
            }
        }
        #expect(understood > 0, "mutations must leave some messages whole")
    }
}

/// One of the samples with bits flipped, bytes overwritten, a part cut out, or a part of another one put in.
func mutated(_ samples: [[UInt8]], _ entropy: inout Entropy) -> [UInt8] {
    var bytes = samples[Int.random(in: samples.indices, using: &entropy)]
    for _ in 0..<Int.random(in: 0...3, using: &entropy) where !bytes.isEmpty {
        let at = Int.random(in: bytes.indices, using: &entropy)
        switch Int.random(in: 0..<5, using: &entropy) {
        case 0: bytes[at] ^= 1 &<< UInt8.random(in: 0..<8, using: &entropy)
        case 1: bytes[at] = Array("{}[]\":,\\0-e.tn\u{0}".utf8).randomElement(using: &entropy) ?? 0
        case 2: bytes.removeSubrange(at..<Int.random(in: at...bytes.count, using: &entropy))
        case 3: bytes.removeLast(bytes.count - at)
        default:
            let other = samples[Int.random(in: samples.indices, using: &entropy)]
            let from = Int.random(in: other.indices, using: &entropy)
            bytes.insert(contentsOf: other[from..<Int.random(in: from...other.count, using: &entropy)], at: at)
        }
    }
    return bytes
}
