import NetTypes
import STUN

/// What is discarded without an answer (RFC 8489 §6.3, §6.3.2).
extension RuleTable {
    mutating func addDiscards() {
        addMalformedDatagrams()
        addUnexpectedMessages()
        addBrokenStreams()
    }

    /// Over streams these would be a broken framing, which is another rule's matter.
    private mutating func addMalformedDatagrams() {
        discard(1, "a message with one of the first two bits set is discarded", "RFC 8489 §6.3", on: [.udp]) {
            var message = RawMessage(.binding)
            message.corrupt("first bit set") { $0[0] |= 0x80 }
            return message
        }
        discard(2, "a message whose length is no multiple of four is discarded", "RFC 8489 §6.3", on: [.udp]) {
            var message = RawMessage(.binding, .request, [RawAttribute(.software, [65])])
            message.corrupt("three bytes less, in the header too") { $0.removeLast(3) }
            message.setLength(message.bytes.count - 20)
            return message
        }
        discard(5, "a message shorter than its header says is discarded", "RFC 8489 §5", .ours, on: [.udp]) {
            var message = RawMessage(.binding, .request, [RawAttribute(.software, [65])])
            message.corrupt("cut off") { $0.removeLast(4) }
            return message
        }
        discard(5, "a message longer than its header says is discarded", "RFC 8489 §5", .ours, on: [.udp]) {
            var message = RawMessage(.binding)
            message.corrupt("four bytes behind the end") { $0 += [1, 2, 3, 4] }
            return message
        }
        discard(5, "half a header is discarded", "RFC 8489 §5", .ours, on: [.udp]) {
            var message = RawMessage(.binding)
            message.corrupt("cut after 10 bytes") { $0.removeLast(10) }
            return message
        }
        discard(96, "a TURN request without the magic cookie is discarded", "RFC 8656 §5", on: [.udp]) {
            RawMessage(.allocate, .request, [.requestedTransport()], cookie: 0x1234_5678)
        }
    }

    private mutating func addUnexpectedMessages() {
        discard(5, "a message with an attribute that runs past its end is discarded", "RFC 8489 §5", .ours) {
            var message = RawMessage(.binding, .request, [RawAttribute(.software, [65, 66, 67, 68])])
            message.corrupt("SOFTWARE announces 400 bytes") { ($0[22], $0[23]) = (1, 0x90) }
            return message
        }
        discard(25, "a request of an unknown method is discarded", "RFC 8489 §6.3") {
            RawMessage(STUNMethod(rawValue: 0x7A))
        }
        discard(25, "a Send request, whose class the method does not have, is discarded", "RFC 8489 §6.3") {
            RawMessage(.send, .request)
        }
        discard(25, "an Allocate indication, whose class the method does not have, is discarded", "RFC 8489 §6.3") {
            RawMessage(.allocate, .indication, [.requestedTransport()])
        }
        discard(25, "a request with a false FINGERPRINT is discarded", "RFC 8489 §6.3") {
            var message = RawMessage(.binding)
            message.addFingerprint(isWrong: true)
            return message
        }
        discard(26, "a success response that nobody asked for is discarded", "RFC 8489 §6.3") {
            RawMessage(.binding, .success)
        }
        discard(26, "an error response that nobody asked for is discarded", "RFC 8489 §6.3") {
            RawMessage(.allocate, .error, [RawAttribute(.errorCode, [0, 0, 4, 1])])
        }
        discard(29, "an indication with an unknown required attribute is discarded", "RFC 8489 §6.3.2") {
            RawMessage(.binding, .indication, [RawAttribute(RawAttribute.unknownRequired)])
        }
        discard(37, "a Binding indication is not answered", "RFC 8489 §6.3.2") { RawMessage(.binding, .indication) }
        discard(89, "a Send indication without an allocation is ignored", "RFC 8656 §5") {
            let peer = SocketAddress(IPAddress(ipv4: 0x0808_0808), port: 53)
            return RawMessage(.send, .indication, [.peer(peer), .data([1])])
        }
        add(
            89,
            "ChannelData without an allocation is ignored",
            "RFC 8656 §5",
            due: "no answer"
        ) { probe throws(Finding) in
            try probe.client().expectSilence(after: [0x40, 1, 0, 4, 1, 2, 3, 4], "ChannelData 0x4001, 4 bytes")
        }
    }

    private mutating func addBrokenStreams() {
        broken("a stream with a message that begins with 11 is closed") { [UInt8](repeating: 0xFF, count: 40) }
        broken("a stream with a bad magic cookie is closed") { RawMessage(.binding, cookie: 0xDEAD_BEEF).bytes }
    }

    private mutating func broken(_ title: String, _ bytes: @escaping @Sendable () -> [UInt8]) {
        add(
            146,
            title,
            "RFC 8656 §12.5",
            .ours,
            on: [.tcp, .tls],
            due: "the end of the connection"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try probe.setUp("no connection") { () throws(Finding) in try client.fence() }
            client.sendRaw(bytes(), "bytes that begin no message")
            let delivery = client.delivery()
            probe.noteCame(client.wire.isClosed ? "the end of the connection" : delivery?.name ?? "nothing")
            try probe.expect(client.wire.isClosed, "the connection stayed open")
        }
    }

    private mutating func discard(
        _ number: Int,
        _ title: String,
        _ section: String,
        _ level: RuleLevel = .must,
        on transports: [TransportProtocol] = TransportProtocol.allCases,
        _ message: @escaping @Sendable () -> RawMessage
    ) {
        add(number, title, section, level, on: transports, due: "no answer") { probe throws(Finding) in
            try probe.client().expectSilence(after: message())
        }
    }
}
