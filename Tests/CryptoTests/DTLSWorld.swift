import Bytes
import NetTypes

@testable import Crypto

/// A client and a server of DTLS in virtual time, and the network between them.
///
/// The server's side does what a driver must: nothing is kept before the cookie has come back.
struct DTLSWorld: ~Copyable {
    /// What the network does to datagrams.
    struct Weather {
        var lossPercent = 0
        var duplicatePercent = 0
        /// Each datagram takes so long, chosen anew: a wide range reorders.
        var milliseconds: ClosedRange<UInt64> = 20...20
        /// What an attacker on the way does to one in so many datagrams; 0 for none.
        var damagedOneIn = 0
    }

    private struct Flying {
        let arrival: Instant
        let order: Int
        let isForServer: Bool
        let bytes: [UInt8]
    }

    static let clientAddress = SocketAddress(IPAddress(ipv4: 0x0A00_0001), port: 40_000)
    static let serverAddress = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 5349)

    let context: DTLSContext
    let cookies: DTLSCookies
    var weather: Weather
    var entropy: Entropy
    var now = Instant.zero + .seconds(1000)
    var client: DTLSSession
    var server: DTLSSession?
    private var tag: UInt64?
    private var flying: [Flying] = []
    private var sent = 0
    var atServer: [[UInt8]] = []
    var atClient: [[UInt8]] = []
    var largestDatagram = 0
    var datagramsToServer: [[UInt8]] = []
    var clientEnd: TLSReadResult?
    var serverEnd: TLSReadResult?
    let serverOptions: DTLSSession.Options

    init(
        server context: DTLSContext,
        client clientContext: DTLSContext,
        serverName: String = "first.example.com",
        weather: Weather = Weather(),
        seed: UInt64 = 1,
        options: DTLSSession.Options = DTLSSession.Options()
    ) {
        self.context = context
        self.weather = weather
        entropy = .seeded(seed)
        cookies = DTLSCookies(entropy: &entropy)
        serverOptions = options
        client = DTLSSession(
            client: clientContext,
            serverName: serverName,
            at: now,
            verifyingAt: TLSFixture.now,
            options: options
        )
        flush()
    }

    var areEstablished: Bool { client.isEstablished && isServerEstablished }

    private var isServerEstablished: Bool {
        switch server {
        case .some(let session): session.isEstablished
        case .none: false
        }
    }

    private var serverTimeout: Instant? {
        switch server {
        case .some(let session): session.nextTimeout
        case .none: nil
        }
    }

    /// Runs until both are established, one has failed, or nothing will happen any more.
    mutating func handshake() {
        while !areEstablished, client.failure == nil, step() {}
    }

    /// Runs until no datagram is on its way.
    mutating func settle() {
        while !flying.isEmpty, step() {}
    }

    /// Lets the next thing happen; returns `false` if there is none.
    mutating func step() -> Bool {
        let next = flying.map { ($0.arrival, $0.order) }.min(by: <)
        let timeouts = [client.nextTimeout, serverTimeout].compactMap { $0 }.min()
        if let next, next.0 <= timeouts ?? .distantFuture {
            now = max(now, next.0)
            guard let index = flying.firstIndex(where: { $0.order == next.1 }) else { return false }
            deliver(flying.remove(at: index))
        } else if let timeouts {
            now = max(now, timeouts)
            client.handleTimeout(at: now)
            server?.handleTimeout(at: now)
        } else {
            return false
        }
        flush()
        return true
    }

    /// Sends an application's message; returns whether the session took it.
    mutating func send(_ message: [UInt8], toServer: Bool) -> Bool {
        var isTaken = false
        let datagram = [UInt8](capacity: message.count + DTLSSession.overheadByteCount) { output in
            isTaken =
                toServer
                ? client.write(message.span, into: &output) : server?.write(message.span, into: &output) == true
        }
        if isTaken { launch(datagram, isForServer: toServer) }
        return isTaken
    }

    /// Lets the network carry a datagram, or not.
    mutating func launch(_ bytes: [UInt8], isForServer: Bool) {
        largestDatagram = max(largestDatagram, bytes.count)
        if isForServer { datagramsToServer.append(bytes) }
        for _ in 0..<(chance(weather.duplicatePercent) ? 2 : 1) where !chance(weather.lossPercent) {
            let delay = TimeSpan.milliseconds(UInt64.random(in: weather.milliseconds, using: &entropy))
            sent += 1
            flying.append(Flying(arrival: now + delay, order: sent, isForServer: isForServer, bytes: bytes))
            guard weather.damagedOneIn > 0, Int.random(in: 0..<weather.damagedOneIn, using: &entropy) == 0 else {
                continue
            }
            sent += 1
            let damaged = Self.damage(bytes, &entropy)
            flying.append(Flying(arrival: now + delay, order: sent, isForServer: isForServer, bytes: damaged))
        }
    }

    mutating func flush() {
        while true {
            var isWritten = false
            let bytes = [UInt8](capacity: 2048) { isWritten = client.pollTransmit(into: &$0) }
            guard isWritten else { break }
            launch(bytes, isForServer: true)
        }
        while true {
            var isWritten = false
            let bytes = [UInt8](capacity: 2048) { isWritten = server?.pollTransmit(into: &$0) == true }
            guard isWritten else { break }
            launch(bytes, isForServer: false)
        }
    }

    private mutating func deliver(_ datagram: Flying) {
        if datagram.isForServer {
            receiveAtServer(datagram.bytes)
        } else {
            let (messages, end) = client.take(datagram.bytes, at: now)
            atClient += messages
            if end != .wouldBlock { clientEnd = end }
        }
    }

    private mutating func receiveAtServer(_ bytes: [UInt8]) {
        var verdict = DTLSHelloVerdict.notHello
        let answer = [UInt8](capacity: DTLSCookies.answerByteCount) { output in
            verdict = cookies.judge(
                bytes.span,
                from: Self.clientAddress,
                to: Self.serverAddress,
                at: now,
                answer: &output
            )
        }
        switch verdict {
        case .malformed: return
        case .unproven: return launch(answer, isForServer: false)
        case .proven(let proof) where proof != tag:
            tag = proof
            server = DTLSSession(server: context, provenHello: bytes.span, at: now, options: serverOptions)
        case .proven, .notHello:
            guard let (messages, end) = server?.take(bytes, at: now) else { return }
            atServer += messages
            if end != .wouldBlock { serverEnd = end }
        }
    }

    private mutating func chance(_ percent: Int) -> Bool {
        percent > 0 && Int.random(in: 0..<100, using: &entropy) < percent
    }

    static func damage(_ bytes: [UInt8], _ entropy: inout Entropy) -> [UInt8] {
        var damaged = bytes
        for _ in 0..<Int.random(in: 1...3, using: &entropy) where !damaged.isEmpty {
            let index = Int.random(in: damaged.indices, using: &entropy)
            switch Int.random(in: 0..<4, using: &entropy) {
            case 0: damaged[index] ^= 1 << UInt8.random(in: 0...7, using: &entropy)
            case 1: damaged[index] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &entropy) ?? 0
            case 2: damaged.removeLast(damaged.count - index)
            default: damaged += damaged[index...]
            }
        }
        return damaged
    }
}

extension DTLSSession {
    /// Receives a datagram and reads all of its messages, and what ended them.
    mutating func take(_ datagram: [UInt8], at now: Instant) -> (messages: [[UInt8]], end: TLSReadResult) {
        var messages: [[UInt8]] = []
        var result = TLSReadResult.wouldBlock
        var message = [UInt8](capacity: DTLSSession.maximumMessageByteCount) {
            result = receive(datagram.span, at: now, into: &$0)
        }
        while case .bytes = result {
            messages.append(message)
            message = [UInt8](capacity: DTLSSession.maximumMessageByteCount) { result = read(into: &$0) }
        }
        return (messages, result)
    }
}
