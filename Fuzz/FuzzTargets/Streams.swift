import Bytes
import Crypto
import HTTP
import NetTypes
import ProxyProtocol
import Signaling
import TURN
import WebSocket

/// The first byte of an input says how its stream is cut.
private func split(_ input: Span<UInt8>) -> (control: UInt8, stream: [UInt8])? {
    input.isEmpty ? nil : (input[0], input.extracting(1...).toArray())
}

/// What must not depend on how a stream was cut: everything but interim responses and late bytes.
private struct HTTPEssence: Equatable {
    let events: [HTTPServerEvent]
    let output: String
    let upgradedBytes: [UInt8]
    let isFinished: Bool

    init(_ outcome: HTTPExerciser.Outcome) {
        events = outcome.events.filter { $0 != .dropped(.afterClose) }
        output = String(decoding: outcome.output, as: UTF8.self).replacing("HTTP/1.1 100 Continue\r\n\r\n", with: "")
        upgradedBytes = outcome.upgradedBytes
        isFinished = outcome.isFinished
    }
}

func runHTTP(_ input: Span<UInt8>) -> Bool {
    guard let (control, stream) = split(input) else { return false }
    let whole = HTTPExerciser.serve(stream) { .max >> 1 }
    let pieces = HTTPExerciser.serve(stream) { Int(control & 63) }
    precondition(HTTPEssence(whole) == HTTPEssence(pieces), "a request depends on how it was cut")
    var parser = HTTPResponseParser(toHead: control & 64 != 0)
    let response = (try? parser.receive(stream.span)) ?? (try? parser.receiveEnd())
    var isRequest = false
    for case .request(let request) in whole.events {
        isRequest = true
        _ = try? WebSocketHandshake.accept(request, subprotocols: ["floe.v1"])
    }
    return isRequest || response != nil
}

func runProxyProtocol(_ input: Span<UInt8>) -> Bool {
    var (whole, pieces) = (ProxyHeaderReader(), ProxyHeaderReader())
    let progress = whole.receive(input)
    var (used, last) = (0, ProxyHeaderReader.Progress.incomplete(0))
    while used < input.count, case .incomplete = last {
        last = pieces.receive(input.extracting(used..<used + 1))
        used += 1
    }
    switch (progress, last) {
    case (.incomplete(let count), .incomplete): precondition(count == input.count, "bytes that nobody took")
    case (.complete(let count, let header), .complete(_, let other)):
        precondition(header == other && count == used, "a header depends on how it was cut")
        return true
    case (.failed(let error), .failed(let other)): precondition(error == other, "a mistake depends on the cut")
    default: preconditionFailure("a header depends on how it was cut")
    }
    return false
}

func runWebSocket(_ input: Span<UInt8>) -> Bool {
    guard let (control, stream) = split(input) else { return false }
    var limits = WebSocketLimits()
    limits.messageBytes = 4000
    let whole = WebSocketExerciser.echo(stream, limits: limits) { .max >> 1 }
    let pieces = WebSocketExerciser.echo(stream, limits: limits) { Int(control) }
    // When a close comes in the same piece as messages, their echoes are dropped: only the events are compared.
    precondition(whole.events == pieces.events && whole.isFinished == pieces.isFinished, "a frame depends on its cut")
    let client = WebSocketExerciser.echo(stream, role: .client, limits: limits) { Int(control) }
    return whole.events.count > 1 || client.events.count > 1
}

func runSignaling(_ input: Span<UInt8>) -> Bool {
    let statistics = SignalingScript.run(input.toArray())
    precondition(statistics.sessions == 0 && statistics.connections == 0, "the server does not come to rest")
    return !input.isEmpty
}

private let identity: Identity = {
    let identity = try? Identity.selfSigned(
        commonName: "fuzz",
        dnsNames: ["first.example.com"],
        validForDays: 90,
        notBefore: 1_790_000_000
    )
    guard let identity else { fatalError("no identity") }
    return identity
}()

private let server: TLSContext = {
    let context = try? TLSContext(
        serverIdentities: [identity],
        applicationProtocols: ["stun.turn", "http/1.1"]
    )
    guard let context else { fatalError("no context") }
    return context
}()

private let client: TLSContext = {
    let trust = ClientTrust.roots(pem: identity.certificatePEM)
    guard let context = try? TLSContext(clientTrust: trust, applicationProtocols: ["stun.turn"]) else {
        fatalError("no context")
    }
    return context
}()

/// Returns whether the server has taken the input for a handshake.
func runTLS(_ input: Span<UInt8>) -> Bool {
    var session = TLSSession(server: server)
    session.exercise(with: input)
    var peer = TLSSession(client: client, serverName: "first.example.com", verifyingAt: 1_790_000_001)
    peer.exercise(with: input)
    precondition(!session.isEstablished && !peer.isEstablished, "a handshake without the keys")
    return session.serverName != nil
}

private let datagramServer: DTLSContext = {
    guard let context = try? DTLSContext(serverIdentities: [identity]) else { fatalError("no context") }
    return context
}()

private let datagramClient: DTLSContext = {
    let trust = ClientTrust.roots(pem: identity.certificatePEM)
    guard let context = try? DTLSContext(clientTrust: trust) else { fatalError("no context") }
    return context
}()

/// Returns whether a handshake was complete.
func runDTLS(_ input: Span<UInt8>) -> Bool {
    if DTLSCookies.concerns(input) {
        precondition(PacketKind(firstByte: input[0]) == .dtls, "a hello that is not DTLS")
    }
    var exercise = DTLSExercise(server: datagramServer, client: datagramClient, unixTime: 1_790_000_001)
    return exercise.run(input)
}
