import Bytes
import NetTypes
import Resolution
import STUN
import TURN

/// Bytes that are used up.
private struct Script {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isEmpty: Bool { rest.isEmpty }
    mutating func next() -> UInt8 { rest.popFirst() ?? 0 }
}

func runResolution(_ input: Span<UInt8>) -> Bool {
    let bytes = input.toArray()
    let end = bytes.firstIndex(of: UInt8(ascii: "\n")) ?? bytes.endIndex
    let text = String(decoding: bytes[..<end], as: UTF8.self)
    let query: ServerQuery
    if let uri = try? TURNURI(text) {
        precondition((try? TURNURI(uri.description)) == uri, "a URI is not read as it was written")
        query = ServerQuery(uri)
    } else if let uri = try? STUNURI(text) {
        precondition((try? STUNURI(uri.description)) == uri, "a URI is not read as it was written")
        query = ServerQuery(uri, over: uri.isSecure ? .tls : .udp)
    } else {
        return false
    }
    var resolution = ServerResolution(query, entropy: .seeded(1))
    var script = Script(bytes[end...].dropFirst())
    var asked = 0
    while resolution.outcome == nil, let question = resolution.pollQuestion() {
        asked += 1
        resolution.receive(answer(to: question, &script), to: question)
    }
    precondition(asked <= ServerResolution.questionLimit, "too many questions")
    switch resolution.outcome {
    case .success(let found)?:
        precondition(!found.isEmpty && found.count <= ServerResolution.candidateLimit, "too many candidates, or none")
        let sorted = DestinationOrder.sorted(found) { $0.low % 3 == 0 ? nil : $0 }
        precondition(Set(sorted) == Set(found) && sorted.count == found.count, "sorting lost a candidate")
    case .failure(let error)?: precondition(!error.description.isEmpty, "a failure without a sentence")
    case nil: preconditionFailure("nothing is asked, and nothing is known")
    }
    return true
}

private func answer(to question: DNSQuestion, _ script: inout Script) -> DNSAnswer {
    let count = script.next()
    guard count > 0 else { return .nothing }
    guard count < 32 else { return .failed(count % 2 == 0 ? .timedOut : .malformed) }
    var records: [DNSRecord] = []
    for _ in 0..<count {
        let (kind, one, two, three) = (script.next(), script.next(), script.next(), script.next())
        let name = ["example.net", "a.example.net", "_turn._udp.example.net", ".", "", "\(two).example.net"]
        let target = name[Int(three) % name.count]
        switch kind % 4 {
        case 0: records.append(.address(IPAddress(ipv4: UInt32(one) << 16 | UInt32(two) << 8 | UInt32(three))))
        case 1: records.append(.address(IPAddress(ipv6: UInt64(one) << 56, UInt64(two))))
        case 2:
            let port = UInt16(two) << 8 | UInt16(three)
            records.append(.service(DNSService(priority: UInt16(one), weight: UInt16(two), port: port, target: target)))
        default:
            let pointer = DNSPointer(
                order: UInt16(one),
                preference: UInt16(one & 3),
                flags: ["", "s", "a", "u"][Int(two & 3)],
                service: "RELAY:" + ["turn.udp", "turn.tcp:turn.tls", "turn.tls:turn.udp", ""][Int(two >> 2 & 3)],
                replacement: target
            )
            records.append(.pointer(pointer))
        }
    }
    return .records(records)
}

func runNATDiscovery(_ input: Span<UInt8>) -> Bool {
    var options = NATDiscovery.Options()
    options.fragments = true
    options.silences = [.seconds(10), .seconds(30)]
    let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
    let inside = IPAddress(ipv4: 0x0A00_0002)
    let locals = (0..<NATDiscovery.socketCount(options)).map { SocketAddress(inside, port: 40_000 + UInt16($0)) }
    var discovery = NATDiscovery(server: server, locals: locals, options: options, entropy: .seeded(1))
    var script = Script(input.toArray()[...])
    let isMeant = !script.isEmpty
    var now = Instant.zero
    discovery.start(at: now)
    var steps = 0
    while let next = discovery.nextTimeout {
        steps += 1
        precondition(steps < 1000, "a discovery without end")
        while true {
            var way: (socket: Int, target: SocketAddress)?
            let request = buildBytes(capacity: NATDiscovery.maximumMessageByteCount) { output in
                way = discovery.pollTransmit(into: &output)
            }
            guard let way else { break }
            play(&script, request, way.socket, way.target, &discovery, now)
        }
        now = max(now, next)
        discovery.handleTimeout(at: now)
    }
    precondition(!discovery.report.verdict.isEmpty, "a report without a verdict")
    return isMeant
}

/// Does with one request what the script says.
private func play(
    _ script: inout Script,
    _ request: [UInt8],
    _ socket: Int,
    _ target: SocketAddress,
    _ discovery: inout NATDiscovery,
    _ now: Instant
) {
    guard let view = try? STUNMessageView(request.span) else { preconditionFailure("a request that is none") }
    let id = view.transactionID
    let external = IPAddress(ipv4: 0xCB00_7132)
    let other = SocketAddress(IPAddress(ipv4: 0xC000_0202), port: 3479)
    let action = script.next()
    var source = target
    var attributes: [STUNMessage.Attribute] = []
    switch action % 8 {
    case 0: return
    case 1, 2:
        let port =
            action % 8 == 1 ? 20_000 + UInt16(socket) : 30_000 + UInt16(target.port % 100) + UInt16(target.ip.low % 7)
        attributes = [
            .init(.mappedAddress, plain(SocketAddress(external, port: port))), .init(.otherAddress, plain(other)),
        ]
        if view.contains(.changeRequest) { source = other }
    case 3:
        // Turned around by a NAT.
        _ = discovery.receive(request.span, from: SocketAddress(external, port: 1), on: (socket + 2) % 4, at: now)
        return
    case 4: attributes = [.init(.errorCode, [0, 0, 4, 20])]
    case 5: attributes = [.init(.mappedAddress, [script.next(), script.next()])]
    case 6: source = SocketAddress(external, port: UInt16(script.next()) + 1)
    default:
        let noise = (0..<Int(script.next() % 64)).map { _ in script.next() }
        _ = discovery.receive(noise.span, from: target, on: socket, at: now)
        return
    }
    let type = STUNMessageType(.binding, action % 8 == 4 ? .error : .success)
    guard let answer = try? STUNMessage(type, id, attributes: attributes).encoded() else { return }
    _ = discovery.receive(answer.span, from: source, on: socket, at: now)
}

private func plain(_ address: SocketAddress) -> [UInt8] {
    buildBytes(capacity: 20) { output in
        output.append(0)
        output.append(1)
        output.append(bigEndian: address.port)
        address.ip.write(into: &output)
    }
}
