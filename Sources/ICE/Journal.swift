import Bytes
import NetTypes
import STUN

/// One call of the owner, as a value; datagrams and polls have records of their own.
enum ICEInput {
    case addLocalCandidate(LocalCandidate, BaseID)
    case localGatheringDone
    case setRemoteDescription(ICEDescription)
    case addRemoteCandidate(Candidate)
    case endOfRemoteCandidates(String?)
    case removeRemoteCandidate(Candidate)
    case removeLocalCandidate(Candidate)
    case removeBase(BaseID)
    case restart
    case close
    case revokeConsent(UInt16)
    case sendFailed(BaseID, SocketAddress?, SendFailure)
    case connected(UInt32, BaseID, SocketAddress)
    case connectFailed(UInt32)
    case accepted(BaseID, BaseID, SocketAddress)
    case note(GatheringFact)
    case noteServerRoundTrip(TimeSpan)
    case handleTimeout
}

/// The kinds of records.
enum RecordKind: UInt8 {
    case addLocalCandidate = 1
    case localGatheringDone, setRemoteDescription, addRemoteCandidate, endOfRemoteCandidates, removeRemoteCandidate
    case removeLocalCandidate, removeBase, restart, close, revokeConsent, sendFailed, connected, connectFailed
    case accepted, note, handleTimeout, receive, poll, noteServerRoundTrip
    case transmit = 64
    case event
}

/// What goes into an agent and comes out of it, in order.
///
/// It holds the passwords and every datagram: it is as secret as they are.
struct Journal {
    private(set) var writer = RecordWriter()

    mutating func input(_ input: ICEInput, at now: Instant) {
        switch input {
        case .addLocalCandidate(let candidate, let base):
            writer.begin(.addLocalCandidate, now)
            writer.write(candidate)
            writer.write(base.rawValue)
        case .localGatheringDone: writer.begin(.localGatheringDone, now)
        case .setRemoteDescription(let description):
            writer.begin(.setRemoteDescription, now)
            writer.write(description)
        case .addRemoteCandidate(let candidate):
            writer.begin(.addRemoteCandidate, now)
            writer.write(candidate)
        case .endOfRemoteCandidates(let fragment):
            writer.begin(.endOfRemoteCandidates, now)
            writer.write(fragment ?? "")
        case .removeRemoteCandidate(let candidate):
            writer.begin(.removeRemoteCandidate, now)
            writer.write(candidate)
        case .removeLocalCandidate(let candidate):
            writer.begin(.removeLocalCandidate, now)
            writer.write(candidate)
        case .removeBase(let base):
            writer.begin(.removeBase, now)
            writer.write(base.rawValue)
        case .restart: writer.begin(.restart, now)
        case .close: writer.begin(.close, now)
        case .revokeConsent(let component):
            writer.begin(.revokeConsent, now)
            writer.write(component)
        case .sendFailed(let base, let destination, let failure):
            writer.begin(.sendFailed, now)
            writer.write(base.rawValue)
            writer.write(destination)
            writer.write(failure)
        case .connected(let attempt, let connection, let local):
            writer.begin(.connected, now)
            writer.write(attempt)
            writer.write(connection.rawValue)
            writer.write(local)
        case .connectFailed(let attempt):
            writer.begin(.connectFailed, now)
            writer.write(attempt)
        case .accepted(let connection, let listener, let source):
            writer.begin(.accepted, now)
            writer.write(connection.rawValue)
            writer.write(listener.rawValue)
            writer.write(source)
        case .note(let fact):
            writer.begin(.note, now)
            writer.write(fact)
        case .noteServerRoundTrip(let span):
            writer.begin(.noteServerRoundTrip, now)
            writer.write(span.nanoseconds)
        case .handleTimeout: writer.begin(.handleTimeout, now)
        }
    }

    mutating func input(_ bytes: Span<UInt8>, on base: BaseID, from source: SocketAddress, at now: Instant) {
        writer.begin(.receive, now)
        writer.write(base.rawValue)
        writer.write(source)
        writer.write(bytes)
    }

    mutating func poll(at now: Instant, _ pacer: CheckPacer) {
        writer.begin(.poll, now)
        writer.write(pacer.interval.nanoseconds)
        writer.write(pacer.next.nanoseconds)
    }

    mutating func output(_ transmit: ICETransmit, _ bytes: Span<UInt8>) {
        writer.begin(.transmit, .zero)
        writer.write(transmit.base.rawValue)
        writer.write(transmit.destination)
        writer.write(bytes)
    }

    mutating func output(_ event: ICEEvent) {
        writer.begin(.event, .zero)
        writer.write("\(event)")
    }
}

/// Writes records: big-endian numbers, and lengths in front of what varies.
struct RecordWriter {
    private(set) var bytes: [UInt8] = []

    mutating func begin(_ kind: RecordKind, _ now: Instant) {
        bytes.append(kind.rawValue)
        write(now.nanoseconds)
    }

    mutating func write<Number: FixedWidthInteger>(_ value: Number) {
        for shift in stride(from: Number.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func write(_ flag: Bool) { bytes.append(flag ? 1 : 0) }

    mutating func write(_ span: Span<UInt8>) {
        write(UInt32(span.count))
        for index in span.indices { bytes.append(span[index]) }
    }

    mutating func write(_ text: String) { write(Array(text.utf8).span) }

    mutating func write(_ address: SocketAddress) {
        bytes.append(address.family.rawValue)
        write(address.ip.high)
        write(address.ip.low)
        write(address.port)
        write(address.scope)
    }

    mutating func write(_ address: SocketAddress?) {
        write(address != nil)
        if let address { write(address) }
    }

    mutating func write(_ candidate: LocalCandidate) {
        bytes.append(candidate.type.rawValue)
        bytes.append(candidate.transport.rawValue)
        bytes.append(candidate.tcpType.map { $0.rawValue + 1 } ?? 0)
        write(candidate.component)
        write(candidate.address)
        write(candidate.baseAddress)
        write(candidate.related)
        write(candidate.server)
        bytes.append(candidate.serverProtocol.rawValue)
        write(candidate.network)
        write(candidate.networkCost)
        write(candidate.isVPN)
        write(candidate.concealedName ?? "")
    }

    mutating func write(_ candidate: Candidate) {
        write(candidate.isResolved)
        write(candidate.text)
    }

    mutating func write(_ credentials: ICECredentials) {
        write(credentials.usernameFragment)
        write(credentials.password)
    }

    mutating func write(_ description: ICEDescription) {
        write(description.credentials)
        bytes.append(description.options.rawValue)
        write(description.isLite)
        write(description.pacing?.nanoseconds ?? .max)
    }

    mutating func write(_ failure: SendFailure) {
        switch failure {
        case .unreachable: bytes.append(0)
        case .refused: bytes.append(1)
        case .notPermitted: bytes.append(2)
        case .messageTooBig(let mtu):
            bytes.append(3)
            write(mtu ?? 0)
        case .closed: bytes.append(4)
        }
    }

    mutating func write(_ fact: GatheringFact) {
        switch fact {
        case .serverAnswered(let server, let base, let mapped):
            bytes.append(0)
            write(server)
            write(base.rawValue)
            write(mapped)
        case .serverSilent(let server, let transport):
            bytes.append(1)
            write(server)
            bytes.append(transport.rawValue)
        case .serverRefused(let server, let transport, let code):
            bytes.append(2)
            write(server)
            bytes.append(transport.rawValue)
            write(code.rawValue)
        case .serverUnreachable(let server, let transport, let trouble):
            bytes.append(3)
            write(server)
            bytes.append(transport.rawValue)
            bytes.append(trouble.rawValue)
        case .nameNotResolved: bytes.append(4)
        case .noInterfaces: bytes.append(5)
        }
    }

    mutating func write(_ configuration: ICEConfiguration) {
        bytes.append(configuration.role.rawValue)
        write(configuration.isLite)
        write(UInt16(clamping: configuration.componentCount))
        bytes.append(configuration.options.rawValue)
        write(configuration.asksConsent)
        write(configuration.presumesPaths)
        write(configuration.isDualStack)
        for number in [
            configuration.pairLimit, configuration.remoteCandidateLimit, configuration.localCandidateLimit,
            configuration.burstLimit, configuration.retransmission.requestCount,
        ] { write(UInt32(clamping: number)) }
        write(configuration.retransmission.lastWaitFactor)
        for span in [
            configuration.pacing, configuration.retransmission.initialTimeout,
            configuration.retransmission.reliableTimeout, configuration.patience, configuration.consentInterval,
            configuration.consentLifetime, configuration.keepaliveInterval, configuration.recheckInterval,
        ] { write(span.nanoseconds) }
    }
}
