import Bytes
import NetTypes

/// Plays a network that an attacker owns, for fuzzing: a client and a server of DTLS, and bytes that say what happens.
///
/// Each step is two bytes, what to do and a number, and for some steps so many bytes more. Traps if a limit is passed, if
/// anything is read that was not written, or if a server is made without proof.
@safe package struct DTLSExercise: ~Copyable {
    private static let address = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 5349)
    private static let message: [UInt8] = Array("what was written".utf8)

    private let serverContext: DTLSContext
    private let cookies: DTLSCookies
    private var client: DTLSSession
    private var server: DTLSSession?
    private var tag: UInt64?
    private var toServer: [[UInt8]] = []
    private var toClient: [[UInt8]] = []
    private var now = Instant.zero + .seconds(100)

    /// Makes the two ends; the client's context trusts the server's for `first.example.com`.
    package init(server: DTLSContext, client: DTLSContext, unixTime: Int64) {
        serverContext = server
        var entropy = Entropy.seeded(1)
        cookies = DTLSCookies(entropy: &entropy)
        self.client = DTLSSession(
            client: client,
            serverName: "first.example.com",
            at: now,
            verifyingAt: unixTime
        )
    }

    /// Carries out the steps; returns whether any handshake was complete.
    package mutating func run(_ input: Span<UInt8>) -> Bool {
        var rest = input
        drain()
        while rest.count >= 2 {
            let (step, number) = (rest[0], Int(rest[1]))
            rest = rest.extracting(2...)
            let taken = step & 7 >= 4 ? min(number, rest.count) : 0
            take(step: step, number, rest.extracting(..<taken).toArray())
            rest = rest.extracting(taken...)
            drain()
        }
        return client.isEstablished
    }

    private mutating func take(step: UInt8, _ number: Int, _ bytes: [UInt8]) {
        let isForServer = step & 8 == 0
        switch step & 7 {
        case 0: deliver(next(isForServer), toServer: isForServer)
        case 1: _ = next(isForServer)
        case 2:
            let datagram = next(isForServer)
            deliver(datagram, toServer: isForServer)
            deliver(datagram, toServer: isForServer)
        case 3:
            now = now + .milliseconds(UInt64(number) * 100)
            client.handleTimeout(at: now)
            server?.handleTimeout(at: now)
        case 4: deliver(bytes, toServer: isForServer)
        case 5: deliver(changed(next(isForServer), by: bytes), toServer: isForServer)
        case 6: deliver((next(isForServer) ?? []) + bytes, toServer: isForServer)
        default: write(toServer: isForServer)
        }
    }

    private mutating func next(_ isForServer: Bool) -> [UInt8]? {
        if isForServer { return toServer.isEmpty ? nil : toServer.removeFirst() }
        return toClient.isEmpty ? nil : toClient.removeFirst()
    }

    /// Flips bits of a datagram: the first two bytes say from where on, the others how.
    private func changed(_ datagram: [UInt8]?, by bytes: [UInt8]) -> [UInt8]? {
        guard var datagram, !datagram.isEmpty, bytes.count > 2 else { return datagram }
        let start = (Int(bytes[0]) << 8 | Int(bytes[1])) % datagram.count
        for (index, byte) in bytes[2...].enumerated() where start + index < datagram.count {
            datagram[start + index] ^= byte
        }
        return datagram
    }

    private mutating func deliver(_ datagram: [UInt8]?, toServer isForServer: Bool) {
        guard let datagram else { return }
        guard isForServer else { return Self.read(datagram, &client, at: now) }
        var verdict = DTLSHelloVerdict.notHello
        let answer = [UInt8](capacity: DTLSCookies.answerByteCount) { output in
            verdict = cookies.judge(
                datagram.span,
                from: SocketAddress(Self.address.ip, port: 1),
                to: Self.address,
                at: now,
                answer: &output
            )
        }
        precondition(answer.isEmpty || answer.count < datagram.count, "an answer that is longer than its question")
        switch verdict {
        case .malformed: break
        case .unproven: toClient.append(answer)
        case .proven(let proof) where proof != tag:
            tag = proof
            server = DTLSSession(server: serverContext, provenHello: datagram.span, at: now)
        case .proven, .notHello:
            guard var session = server.take() else { return }
            Self.read(datagram, &session, at: now)
            server = consume session
        }
    }

    private static func read(_ datagram: [UInt8], _ session: inout DTLSSession, at now: Instant) {
        var result = TLSReadResult.wouldBlock
        var plaintext = [UInt8](capacity: 4096) { result = session.receive(datagram.span, at: now, into: &$0) }
        while case .bytes = result {
            precondition(plaintext == message, "a message that nobody has written")
            plaintext = [UInt8](capacity: 4096) { result = session.read(into: &$0) }
        }
    }

    private mutating func write(toServer isForServer: Bool) {
        var isWritten = false
        let datagram = [UInt8](capacity: Self.message.count + DTLSSession.overheadByteCount) { output in
            isWritten =
                isForServer
                ? client.write(Self.message.span, into: &output)
                : server?.write(Self.message.span, into: &output) == true
        }
        guard isWritten else { return }
        if isForServer { toServer.append(datagram) } else { toClient.append(datagram) }
    }

    private mutating func drain() {
        while client.hasPendingOutput {
            toServer.append([UInt8](capacity: 2048) { _ = client.pollTransmit(into: &$0) })
        }
        var isMore = true
        while isMore {
            isMore = false
            let datagram = [UInt8](capacity: 2048) { isMore = server?.pollTransmit(into: &$0) == true }
            if isMore { toClient.append(datagram) }
        }
        precondition(toServer.count + toClient.count < 10_000, "datagrams without end")
    }
}
