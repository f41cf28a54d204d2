import NetTypes
import STUN

/// Unknown attributes, what responses carry, and how long texts may be (RFC 8489 §6.3, §7, §14).
extension RuleTable {
    mutating func addUnknownAttributes() {
        let required = (0..<3).map { RawAttribute(AttributeType(rawValue: 0x7F31 + UInt16($0) * 2)) }
        let optional = RawAttribute(AttributeType(rawValue: 0xC131), [1, 2, 3])
        add(
            27,
            "an unknown optional attribute is ignored",
            "RFC 8489 §6.3",
            due: "success"
        ) { probe throws(Finding) in
            try probe.expectSuccess(probe.client().exchange(RawMessage(.binding, .request, [optional])))
            try probe.expectSuccess(probe.client().request(.allocate, [.requestedTransport(), optional]))
        }
        add(
            27,
            "a known attribute that does not belong there is ignored",
            "RFC 8489 §6.3",
            .should,
            due: "success"
        ) { probe throws(Finding) in
            try probe.expectSuccess(probe.client().exchange(RawMessage(.binding, .request, [.lifetime(60)])))
        }
        add(
            28,
            "unknown required attributes of a Binding request are all named in a 420",
            "RFC 8489 §6.3.1",
            due: "420 with UNKNOWN-ATTRIBUTES of three types"
        ) { probe throws(Finding) in
            try Self.expectUnknown(probe, probe.client().exchange(RawMessage(.binding, .request, required)), required)
        }
        add(
            28,
            "unknown required attributes of an authenticated request are all named in a 420",
            "RFC 8489 §6.3.1",
            due: "420 with UNKNOWN-ATTRIBUTES of three types"
        ) { probe throws(Finding) in
            let reply = try probe.client().request(.allocate, [.requestedTransport()] + required)
            try Self.expectUnknown(probe, reply, required)
        }
        add(
            28,
            "a request without credentials is challenged before its unknown attributes are looked at",
            "RFC 8489 §6.3.1",
            due: "401"
        ) { probe throws(Finding) in
            let message = RawMessage(.allocate, .request, [.requestedTransport()] + required)
            try probe.expect(probe.client().exchange(message), error: 401)
        }
        add(
            49,
            "UNKNOWN-ATTRIBUTES is padded, not filled with repetitions",
            "RFC 8489 §14.13",
            due: "a value of two bytes for one type, of six for three"
        ) { probe throws(Finding) in
            for count in [1, 3] {
                let sent = Array(required.prefix(count))
                let reply = try probe.client().exchange(RawMessage(.binding, .request, sent))
                let value = reply.value(.unknownAttributes) ?? []
                try probe.expect(value.count == 2 * count, "\(value.count) bytes for \(count) types")
            }
        }
    }

    private static func expectUnknown(_ probe: Probe, _ reply: Reply, _ sent: [RawAttribute]) throws(Finding) {
        try probe.expect(reply, error: 420)
        let list = reply.read { (view) throws(STUNError) in try view.unknownAttributes() }
        guard let list else {
            return try probe.expect(false, "UNKNOWN-ATTRIBUTES was due, \(reply.name) came")
        }
        for attribute in sent { try probe.expect(list.contains(attribute.type), "\(attribute.type) is not named") }
    }

    mutating func addResponses() {
        add(
            33,
            "XOR-MAPPED-ADDRESS is where the request came from",
            "RFC 8489 §6.3.1.1",
            due: "the client's address and port"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let reply = try client.exchange(RawMessage(.binding))
            try probe.expectSuccess(reply)
            guard let mapped = reply.mappedAddress else {
                return try probe.expect(false, "XOR-MAPPED-ADDRESS was due, \(reply.name) came")
            }
            // Another address with a right family may be a NAT's; on one host there is none.
            let isHere = client.server.ip.isLoopback || client.server.ip == client.wire.local.ip
            try probe.require(isHere || mapped == client.wire.local, "a NAT may be between client and server")
            try probe.expect(mapped == client.wire.local, "\(mapped) instead of \(client.wire.local)")
        }
        add(
            40,
            "the first byte of XOR-MAPPED-ADDRESS is zero",
            "RFC 8489 §14.2",
            due: "0, then the family"
        ) { probe throws(Finding) in
            let value = try probe.client().exchange(RawMessage(.binding)).value(.xorMappedAddress) ?? []
            try probe.expect(value.count == 8 || value.count == 20, "\(value.count) bytes")
            try probe.expect(value.first == 0, "the first byte is not zero")
        }
        add(
            36,
            "an error response says its code in ERROR-CODE",
            "RFC 8489 §6.3.4",
            due: "ERROR-CODE with class 3 to 6 and number 0 to 99"
        ) { probe throws(Finding) in
            let unknown = RawAttribute(RawAttribute.unknownRequired)
            for message in [
                RawMessage(.allocate, .request, [.requestedTransport()]), RawMessage(.binding, .request, [unknown]),
            ] {
                let reply = try probe.client().exchange(message)
                try probe.expect(reply.messageClass == .error, "an error was due, \(reply.name) came")
                try probe.expect(reply.errorCode != nil, "no readable ERROR-CODE in \(reply.name)")
            }
        }
        add(
            38,
            "FINGERPRINT of a response is right and last",
            "RFC 8489 §14.7",
            due: "the CRC-32 of the message, at its end"
        ) { probe throws(Finding) in
            var message = RawMessage(.binding)
            message.addFingerprint()
            let reply = try probe.client().exchange(message)
            try probe.require(reply.has(.fingerprint), "the server sends no FINGERPRINT")
            try probe.expect(reply.check { $0.checkFingerprint() } == .valid, "FINGERPRINT is wrong")
        }
        add(
            39,
            "FINGERPRINT in a request gets one in the response",
            "RFC 8489 §7",
            .ours,
            due: "FINGERPRINT"
        ) { probe throws(Finding) in
            var message = RawMessage(.binding)
            message.addFingerprint()
            let reply = try probe.client().exchange(message)
            try probe.expect(reply.has(.fingerprint), "FINGERPRINT was due, \(reply.name) came")
        }
    }

    mutating func addAttributeLimits() {
        add(
            8,
            "of two attributes that may stand once, the first counts",
            "RFC 8489 §14",
            .ours,
            due: "the lifetime that the first LIFETIME asks for"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let reply = try client.request(.refresh, [.lifetime(900), .lifetime(0)])
            try probe.expectSuccess(reply)
            try probe.expect(reply.lifetime.map { $0 > 0 } ?? false, "LIFETIME 0 counted, which was the second")
        }
        add(
            10,
            "a challenge over UDP, which a forger may have caused, does not name the software",
            "RFC 8489 §16.1",
            .ours,
            on: [.udp],
            due: "401 without SOFTWARE"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(reply, error: 401)
            try probe.expect(!reply.has(.software), "SOFTWARE came")
        }
        add(
            10,
            "the response to Allocate names the software",
            "RFC 8656 §5",
            .should,
            due: "SOFTWARE"
        ) { probe throws(Finding) in
            let reply = try probe.client().allocate().reply
            try probe.expect(reply.has(.software), "SOFTWARE was due, \(reply.name) came")
        }
        add(
            46,
            "the reason phrase is UTF-8 of fewer than 128 characters, the reserved bits are zero",
            "RFC 8489 §14.8",
            due: "a short phrase behind 21 zero bits, class and number"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(reply, error: 401)
            let value = reply.value(.errorCode) ?? []
            try probe.expect(value.count >= 4 && value[0] == 0 && value[1] == 0 && value[2] < 8, "reserved bits set")
            let phrase = String(validating: value.dropFirst(4), as: UTF8.self)
            try probe.expect(phrase.map { $0.count < 128 } ?? false, "\(value.count - 4) bytes of phrase")
        }
        add(
            47,
            "REALM and NONCE have fewer than 128 characters, and a nonce none that needs quotes",
            "RFC 8489 §14.9, §14.10",
            due: "REALM and NONCE of 1 to 127 characters"
        ) { probe throws(Finding) in
            let login = try probe.client().logIn()
            let realm = String(validating: login.realm ?? [], as: UTF8.self)
            try probe.expect(realm.map { (1..<128).contains($0.count) } ?? false, "REALM is not 1 to 127 characters")
            let nonce = login.nonce ?? []
            try probe.expect((1..<128).contains(nonce.count), "NONCE has \(nonce.count) characters")
            let isPlain = nonce.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") }
            try probe.expect(isPlain, "NONCE has a character that is no qdtext")
        }
        add(
            47,
            "a SOFTWARE of 763 bytes is accepted",
            "RFC 8489 §14.14",
            due: "success"
        ) { probe throws(Finding) in
            let software = RawAttribute(.software, [UInt8](repeating: 65, count: 763))
            try probe.expectSuccess(probe.client().exchange(RawMessage(.binding, .request, [software])))
        }
        add(
            60,
            "REALM is the one that is due",
            "RFC 8489 §9.2.4",
            .should,
            due: "the realm that --realm names"
        ) { probe throws(Finding) in
            guard let realm = probe.target.realm else { throw .notApplicable("no --realm is given") }
            let found = try probe.client().logIn().realm ?? []
            try probe.expect(found == Array(realm.utf8), "it is '\(String(decoding: found, as: UTF8.self))'")
        }
    }
}
