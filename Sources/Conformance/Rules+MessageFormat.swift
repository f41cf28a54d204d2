import EventLoop
import NetTypes
import STUN

/// The message format and its transports (RFC 8489 §5, §6).
extension RuleTable {
    mutating func addMessageFormat() {
        add(
            1,
            "a response has zero in its first two bits, and the magic cookie",
            "RFC 8489 §5",
            due: "00 in the first two bits, 0x2112A442 at byte 4"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.binding))
            try probe.expect(reply.bytes[0] & 0xC0 == 0, "the first byte is \(reply.bytes[0])")
            try probe.expect(Array(reply.bytes[4..<8]) == STUNFormat.magicCookie.bigEndianBytes, "no magic cookie")
        }
        add(
            2,
            "the length of a response is a multiple of four and counts what follows the header",
            "RFC 8489 §5",
            due: "the length of the message less 20"
        ) { probe throws(Finding) in
            for message in [RawMessage(.binding), RawMessage(.allocate, .request, [.requestedTransport()])] {
                let reply = try probe.client().exchange(message)
                let length = Int(reply.bytes[2]) << 8 | Int(reply.bytes[3])
                try probe.expect(length % 4 == 0 && length + 20 == reply.bytes.count, "the length is \(length)")
            }
        }
        add(
            3,
            "responses carry method and class in the right bits",
            "RFC 8489 §5",
            due: "type 0x0101 to Binding, 0x0113 to Allocate without credentials"
        ) { probe throws(Finding) in
            let binding = try probe.client().exchange(RawMessage(.binding))
            try probe.expect(Array(binding.bytes.prefix(2)) == [1, 1], "\(binding.name) came")
            let allocate = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(Array(allocate.bytes.prefix(2)) == [1, 0x13], "\(allocate.name) came")
        }
        addPadding()
        addTransport()
    }

    private mutating func addPadding() {
        add(
            6,
            "the padding of attributes is zero on sending",
            "RFC 8489 §14",
            due: "zero bytes behind each value"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let challenge = try client.exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            let success = try client.allocate().reply
            for (type, _, padding) in challenge.attributes + success.attributes {
                try probe.expect(padding.allSatisfy { $0 == 0 }, "\(type) is padded with \(padding)")
            }
        }
        add(
            6,
            "the padding of attributes is ignored on reception",
            "RFC 8489 §14",
            due: "success"
        ) { probe throws(Finding) in
            let software = RawAttribute(.software, Array("abcde".utf8), padding: 0xFF)
            try probe.expectSuccess(probe.client().exchange(RawMessage(.binding, .request, [software])))
            let client = try probe.client()
            let attributes = [.requestedTransport(), RawAttribute(.software, Array("a".utf8), padding: 0x20)]
            try probe.expectSuccess(client.request(.allocate, attributes))
        }
        add(
            9,
            "a challenge fits into the smallest packet that every path takes",
            "RFC 8489 §6.1",
            .should,
            on: [.udp],
            due: "at most 548 bytes"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(reply.errorCode == 401 && reply.bytes.count <= 548, "\(reply.bytes.count) bytes came")
        }
    }

    private mutating func addTransport() {
        add(
            19,
            "requests that come in one piece are all answered",
            "RFC 8489 §6.2.2",
            .ours,
            on: [.tcp, .tls],
            due: "three responses"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let messages = [RawMessage(.binding), RawMessage(.binding), RawMessage(.binding)]
            client.sendRaw(messages.flatMap(\.bytes), "three Binding requests in one piece")
            for message in messages {
                let reply = client.answer(to: message.transactionID, until: probe.deadline)
                try probe.expect(reply?.messageClass == .success, "not all were answered")
            }
        }
        add(
            19,
            "a request that comes byte by byte is answered",
            "RFC 8489 §6.2.2",
            .ours,
            on: [.tcp, .tls],
            due: "success"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let message = RawMessage(.binding, .request, [RawAttribute(.software, [65])])
            for byte in message.bytes { client.sendRaw([byte], "a Binding request, byte by byte") }
            let reply = client.answer(to: message.transactionID, until: probe.deadline)
            try probe.expect(reply?.messageClass == .success, "no answer came")
        }
        add(
            86,
            "a request without the magic cookie over DTLS is a server error",
            "RFC 8489 §11",
            on: [.dtls],
            due: "500"
        ) { probe throws(Finding) in
            let client = try probe.client()
            client.sendRaw(RawMessage(.binding, cookie: 0x1234_5678).bytes, "Binding without the magic cookie")
            let bytes = client.wire.receive(until: probe.deadline)?.bytes ?? []
            probe.noteCame(bytes.isEmpty ? "nothing" : "\(bytes.count) bytes")
            try probe.expect(
                bytes.starts(with: [1, 0x11]) && bytes.dropFirst(4).starts(with: [0x12, 0x34, 0x56, 0x78]),
                "no error response came"
            )
            try probe.expect(bytes.count >= 28 && bytes[26] == 5 && bytes[27] == 0, "another error than 500 came")
        }
        add(
            86,
            "an indication without the magic cookie over DTLS is ignored",
            "RFC 8489 §11",
            on: [.dtls],
            due: "no answer"
        ) { probe throws(Finding) in
            try probe.client().expectSilence(after: RawMessage(.binding, .indication, cookie: 0x1234_5678))
        }
        add(
            23,
            "a response comes from where the request was sent to",
            "RFC 8489 §6.3.1.2",
            on: [.udp],
            due: "the server's address and port as source"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let reply = try client.exchange(RawMessage(.binding))
            try probe.expect(reply.source == client.server, "it came from \(reply.source)")
        }
        add(
            24,
            "a response comes on the connection of its request",
            "RFC 8489 §6.3.1.2",
            on: [.tcp, .tls],
            due: "each response on its own connection"
        ) { probe throws(Finding) in
            let clients = [try probe.client(), try probe.client()]
            let messages = [RawMessage(.binding), RawMessage(.binding)]
            for index in [1, 0] { clients[index].sendRaw(messages[index].bytes, "Binding on two connections") }
            for index in [0, 1] {
                let reply = clients[index].answer(to: messages[index].transactionID, until: probe.deadline)
                try probe.expect(reply != nil, "no answer on connection \(index + 1)")
            }
        }
        add(
            93,
            "an allocation can be made over UDP",
            "RFC 8656 §5",
            on: [.udp],
            due: "success",
            Self.allocates
        )
        add(
            93,
            "an allocation can be made over TCP and TLS",
            "RFC 8656 §5",
            .should,
            on: [.tcp, .tls],
            due: "success",
            Self.allocates
        )
    }

    private static let allocates: @Sendable (Probe) throws(Finding) -> Void = { probe throws(Finding) in
        try probe.expectSuccess(probe.client().request(.allocate, [.requestedTransport()]))
    }
}

extension Probe {
    /// When an answer to what is sent now is too late.
    var deadline: Instant { MonotonicClock.now() + target.answerTime }
}
