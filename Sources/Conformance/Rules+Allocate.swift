import NetTypes
import STUN
import TURN

/// Allocate (RFC 8656 §7).
extension RuleTable {
    mutating func addAllocate() {
        add(
            97,
            "each allocation has its own relayed address",
            "RFC 8656 §6",
            due: "different relayed addresses"
        ) { probe throws(Finding) in
            let first = try probe.client().allocate()
            let second = try probe.client().allocate()
            try probe.expect(first.relayed != second.relayed, "both have \(first.relayed)")
        }
        add(
            97,
            "the same client address over UDP and over TCP are two clients",
            "RFC 8656 §6",
            on: [.tcp],
            due: "success for both"
        ) { probe throws(Finding) in
            let stream = try probe.client()
            let first = try stream.allocate()
            let local = stream.wire.local
            let datagrams = try probe.client(over: .udp, from: local.ip, port: local.port)
            let reply = try datagrams.request(.allocate, [.requestedTransport()])
            try probe.expectSuccess(reply)
            try probe.expect(reply.relayedAddress != first.relayed, "both have \(first.relayed)")
        }
        add(
            99,
            "a second Allocate of the same client is refused",
            "RFC 8656 §7.2",
            due: "437"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            try probe.expect(client.request(.allocate, [.requestedTransport()]), error: 437)
        }
        add(
            104,
            "an Allocate that names no address family gets an IPv4 address",
            "RFC 8656 §7.2",
            due: "an IPv4 relayed address, or 440 if the server relays none"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let message = client.signed(.allocate, [.requestedTransport()], as: try client.logIn(), asIs: true)
            let reply = try client.exchange(message)
            guard reply.messageClass == .success else { return try probe.expect(reply, error: 440) }
            try probe.expect(reply.relayedAddress?.family == .ipv4, "\(reply.name) came")
        }
        add(
            107,
            "one allocation more than the quota is refused, from whichever address",
            "RFC 8656 §7.2",
            .should,
            on: [.udp],
            due: "486"
        ) { probe throws(Finding) in
            guard let quota = probe.target.quota else { throw .notApplicable("the quota is unknown: give --quota") }
            for _ in 0..<quota { try probe.client().allocate() }
            try probe.expect(probe.client().request(.allocate, [.requestedTransport()]), error: 486)
        }
        add(
            111,
            "a lifetime below the default is raised to the default",
            "RFC 8656 §7.2",
            due: "the lifetime that is granted when none is asked for"
        ) { probe throws(Finding) in
            let standard = try probe.client().allocate().lifetime
            let short = try probe.client().request(.allocate, [.requestedTransport(), .lifetime(5)])
            try probe.expectSuccess(short)
            try probe.expect(
                short.grants(standard),
                "\(short.lifetime ?? 0) s, the default is \(standard) s"
            )
        }
        add(
            111,
            "a lifetime above the maximum is cut to the maximum, which is no less than the default",
            "RFC 8656 §7.2",
            due: "at least the default lifetime"
        ) { probe throws(Finding) in
            let standard = try probe.client().allocate().lifetime
            let long = try probe.client().request(.allocate, [.requestedTransport(), .lifetime(.max)])
            try probe.expectSuccess(long)
            let granted = long.lifetime ?? 0
            try probe.expect(long.grants(standard), "\(granted) s, the default is \(standard) s")
            try probe.expect(granted < .max, "any lifetime is granted")
        }
        add(
            111,
            "no lifetime is longer than an hour",
            "RFC 8656 §7.2",
            .should,
            due: "at most 3600 s"
        ) { probe throws(Finding) in
            let lifetime = try probe.client().allocate([.lifetime(.max)]).lifetime
            try probe.expect(lifetime <= 3600, "\(lifetime) s")
        }
        add(
            112,
            "the response to Allocate has relayed address, lifetime and mapped address",
            "RFC 8656 §7.2",
            due: "XOR-RELAYED-ADDRESS, LIFETIME, XOR-MAPPED-ADDRESS"
        ) { probe throws(Finding) in
            let reply = try probe.client().request(.allocate, [.requestedTransport()])
            try probe.expectSuccess(reply)
            try probe.expect(reply.relayedAddress != nil && reply.lifetime != nil, "\(reply.name) came")
            try probe.expect(reply.mappedAddress != nil, "\(reply.name) came")
        }
        add(
            151,
            "reserved bytes of REQUESTED-TRANSPORT are ignored",
            "RFC 8656 §18.8",
            due: "success"
        ) { probe throws(Finding) in
            let transport = RawAttribute(.requestedTransport, [17, 1, 2, 3])
            try probe.expectSuccess(probe.client().request(.allocate, [transport]))
        }
        add(
            151,
            "reserved bits of EVEN-PORT are ignored",
            "RFC 8656 §18.7",
            due: "success without a token"
        ) { probe throws(Finding) in
            let evenPort = RawAttribute(.evenPort, [0x7F])
            let reply = try probe.client().request(.allocate, [.requestedTransport(), evenPort])
            try probe.expectSuccess(reply)
            try probe.expect(!reply.has(.reservationToken), "\(reply.name) came")
        }
    }

    mutating func addAllocateRefusals() {
        refuse(100, "an Allocate without REQUESTED-TRANSPORT is refused", 400) { [] }
        refuse(100, "an Allocate with a REQUESTED-TRANSPORT of one byte is refused", 400) {
            [RawAttribute(.requestedTransport, [17])]
        }
        refuse(100, "an Allocate for a protocol that nobody relays is refused", 442) { [.requestedTransport(132)] }
        for (name, other) in [
            ("EVEN-PORT", .evenPort(reservesNext: false)), ("REQUESTED-ADDRESS-FAMILY", .family(1)),
            ("ADDITIONAL-ADDRESS-FAMILY", .family(2, .additionalAddressFamily)),
        ] as [(String, RawAttribute)] {
            refuse(102, "an Allocate with RESERVATION-TOKEN and \(name) is refused", 400) {
                [.requestedTransport(), RawAttribute(.reservationToken, [1, 2, 3, 4, 5, 6, 7, 8]), other]
            }
        }
        refuse(102, "an Allocate with a token that nobody gave out is refused", 508) {
            [.requestedTransport(), RawAttribute(.reservationToken, [1, 2, 3, 4, 5, 6, 7, 8])]
        }
        refuse(103, "an Allocate with REQUESTED- and ADDITIONAL-ADDRESS-FAMILY is refused", 400) {
            [.requestedTransport(), .family(1), .family(2, .additionalAddressFamily)]
        }
        refuse(105, "an Allocate with ADDITIONAL-ADDRESS-FAMILY for a pair of ports is refused", 400) {
            [.requestedTransport(), .evenPort(reservesNext: true), .family(2, .additionalAddressFamily)]
        }
        refuse(106, "an Allocate with ADDITIONAL-ADDRESS-FAMILY for IPv4 is refused", 400) {
            [.requestedTransport(), .family(1, .additionalAddressFamily)]
        }
        refuse(160, "an Allocate for an address family that does not exist is refused", 440) {
            [.requestedTransport(), .family(3)]
        }
        add(
            106,
            "an Allocate for both families gets both addresses, or says why not",
            "RFC 8656 §7.2",
            due: "two XOR-RELAYED-ADDRESS, or one and ADDRESS-ERROR-CODE 440 or 508, or 508"
        ) { probe throws(Finding) in
            let attributes: [RawAttribute] = [.requestedTransport(), .family(2, .additionalAddressFamily)]
            let reply = try probe.client().request(.allocate, attributes)
            guard reply.messageClass == .success else { return try probe.expect(reply, error: 508) }
            guard reply.relayedAddress(.ipv4) == nil || reply.relayedAddress(.ipv6) == nil else {
                return try probe.expect(!reply.has(.addressErrorCode), "\(reply.name) came")
            }
            let code = reply.read { (view) throws(STUNError) in try view.addressErrorCode()?.code.rawValue } ?? 0
            try probe.expect(code == 440 || code == 508, "one address and no ADDRESS-ERROR-CODE came: \(reply.name)")
        }
        add(
            160,
            "an Allocate for IPv6 gets an IPv6 address, or learns that there is none",
            "RFC 8656 §7.2",
            due: "an IPv6 relayed address, or 440"
        ) { probe throws(Finding) in
            let reply = try probe.client().request(.allocate, [.requestedTransport(), .family(2)])
            guard reply.messageClass == .success else { return try probe.expect(reply, error: 440) }
            try probe.expect(reply.relayedAddress?.family == .ipv6, "\(reply.name) came")
        }
        add(
            101,
            "DONT-FRAGMENT is supported, or an unknown attribute",
            "RFC 8656 §7.2",
            due: "success, or 420 that names DONT-FRAGMENT"
        ) { probe throws(Finding) in
            let reply = try probe.client().request(.allocate, [.requestedTransport(), RawAttribute(.dontFragment)])
            guard reply.messageClass != .success else { return try probe.expectSuccess(reply) }
            try probe.expect(reply, error: 420)
            let list = reply.read { (view) throws(STUNError) in try view.unknownAttributes() }
            try probe.expect(list?.contains(.dontFragment) ?? false, "\(reply.name) came")
        }
    }

    private mutating func refuse(
        _ number: Int,
        _ title: String,
        _ code: UInt16,
        _ attributes: @escaping @Sendable () -> [RawAttribute]
    ) {
        add(number, title, "RFC 8656 §7.2", due: "\(code)") { probe throws(Finding) in
            try probe.expect(probe.client().request(.allocate, attributes()), error: code)
        }
    }

    mutating func addPorts() {
        add(
            109,
            "EVEN-PORT gets an even port",
            "RFC 8656 §7.2",
            due: "an even port each time"
        ) { probe throws(Finding) in
            for _ in 0..<4 {
                let reply = try probe.client().request(
                    .allocate,
                    [.requestedTransport(), .evenPort(reservesNext: false)]
                )
                try probe.expectSuccess(reply)
                try probe.expect((reply.relayedAddress?.port ?? 1) % 2 == 0, "an odd port came")
            }
        }
        add(
            109,
            "EVEN-PORT with R reserves the next port, and any client that shows the token gets it",
            "RFC 8656 §7.2",
            due: "port N and a token, then port N + 1 on the same address"
        ) { probe throws(Finding) in
            let pair: [RawAttribute] = [.requestedTransport(), .evenPort(reservesNext: true)]
            let first = try probe.client().request(.allocate, pair)
            try probe.expectSuccess(first)
            guard let even = first.relayedAddress, let token = first.value(.reservationToken) else {
                return try probe.expect(false, "RESERVATION-TOKEN was due, \(first.name) came")
            }
            try probe.expect(even.port % 2 == 0, "an odd port came")
            let redeemed = [.requestedTransport(), RawAttribute(.reservationToken, token)]
            let second = try probe.client().request(.allocate, redeemed)
            try probe.expectSuccess(second)
            let next = SocketAddress(even.ip, port: even.port &+ 1)
            try probe.expect(second.relayedAddress == next, "not the port after that of the first")
        }
        add(
            110,
            "relayed ports are dynamic ones",
            "RFC 8656 §7.2",
            .should,
            on: [.udp],
            due: "49152 to 65535"
        ) { probe throws(Finding) in
            for _ in 0..<4 {
                let port = try probe.client().allocate().relayed.port
                try probe.expect(port >= 49152, "port \(port)")
            }
        }
        add(
            110,
            "relayed ports cannot be guessed from earlier ones",
            "RFC 8656 §7.2",
            .should,
            on: [.udp],
            due: "no run of ports that differ by one or two"
        ) { probe throws(Finding) in
            var ports: [Int] = []
            for _ in 0..<6 { ports.append(Int(try probe.client().allocate().relayed.port)) }
            let near = zip(ports, ports.dropFirst()).count { abs($0 - $1) <= 2 }
            try probe.expect(near < 3, "\(ports)")
        }
    }
}
