import Bytes
import NetTypes
import STUN

/// Plays network, signaling, driver and time of two agents to a script of arbitrary bytes, for fuzzing and random tests.
///
/// What one agent sends may reach the other whole, changed, twice or never; some forged requests know the password. After
/// each step the limits must hold and nothing may be due that was not done.
package struct ICEExercise: ~Copyable {
    private var one: ICEAgent
    private var other: ICEAgent
    private var pacer = CheckPacer()
    private var now = Instant.zero + .seconds(1)
    private var inFlight: [(toOther: Bool, base: BaseID, destination: SocketAddress, bytes: [UInt8])] = []
    private var signalled: [Candidate] = []
    private var attempts: [UInt32] = []
    private var serial: UInt64 = 0
    /// How often data could go.
    package private(set) var paths = 0

    /// Makes two agents; what is random in them follows from the seed.
    package init(seed: UInt64, isRecorded: Bool = false) {
        var configuration = ICEConfiguration(role: .controlling)
        configuration.pairLimit = 12
        configuration.remoteCandidateLimit = 10
        configuration.localCandidateLimit = 8
        configuration.componentCount = 2
        configuration.isRecorded = isRecorded
        configuration.presumesPaths = seed & 8 == 8
        one = ICEAgent(configuration, entropy: .seeded(seed), at: now)
        configuration.role = seed & 1 == 0 ? .controlled : .controlling
        configuration.isLite = seed & 6 == 6
        configuration.recheckInterval = seed & 8 == 8 ? .seconds(20) : .zero
        other = ICEAgent(configuration, entropy: .seeded(seed &+ 1), at: now)
    }

    /// Plays a script to its end; traps if a limit is passed or an agent is busy with nothing.
    package mutating func run(_ script: Span<UInt8>) {
        var reader = ByteReader(script)
        do {
            while reader.remaining > 0 { try step(&reader) }
        } catch {
            // The script ends in the middle of a step.
        }
    }

    /// What the first agent has recorded.
    package func recording() -> [UInt8]? { one.recording() }

    private mutating func step(_ reader: inout ByteReader) throws(WireError) {
        let kind = try reader.readUInt8()
        let isOther = kind & 0x80 != 0
        let time = now
        switch kind & 31 {
        case 0, 1: now = now + .milliseconds(UInt64(try reader.readUInt8()) * (kind & 1 == 0 ? 1 : 100))
        case 2, 3, 4, 5, 6: deliver(changing: kind & 31 == 6 ? try reader.readUInt8() : 0)
        case 7:
            let text = try reader.read(min(reader.remaining, Int(try reader.readUInt8()))).toArray()
            if let candidate = try? Candidate(text: String(decoding: text, as: UTF8.self)) {
                with(isOther) { _ = $0.addRemoteCandidate(candidate, at: time) }
            }
        case 8:
            let found = localCandidate(try reader.readUInt16())
            let base = BaseID(rawValue: UInt32(found.address.port & 7))
            var candidate: Candidate?
            with(isOther) { candidate = $0.addLocalCandidate(found, base: base, at: time) }
            if let candidate {
                if signalled.count < 8 { signalled.append(candidate) }
                with(!isOther) { _ = $0.addRemoteCandidate(candidate, at: time) }
            }
        case 9:
            let description = isOther ? one.localDescription : other.localDescription
            with(isOther) { _ = $0.setRemoteDescription(description, at: time) }
        case 10: with(isOther) { $0.endOfRemoteCandidates(at: time) }
        case 11: with(isOther) { $0.localGatheringDone(at: time) }
        case 12: with(isOther) { _ = $0.restart(at: time) }
        case 13:
            let base = BaseID(rawValue: UInt32(try reader.readUInt8() & 31))
            with(isOther) { $0.removeBase(base, at: time) }
        case 14:
            guard let candidate = signalled.popLast() else { break }
            with(isOther) { $0.removeRemoteCandidate(candidate, at: time) }
            with(!isOther) { $0.removeLocalCandidate(candidate, at: time) }
        case 15:
            let base = BaseID(rawValue: UInt32(try reader.readUInt8() & 7))
            let failures: [SendFailure] = [.unreachable, .notPermitted, .messageTooBig(mtu: 1280), .closed]
            let failure = failures[Int(kind &>> 5 & 3)]
            with(isOther) { $0.sendFailed(on: base, to: Self.address(3), failure, at: time) }
        case 16:
            guard let attempt = attempts.popLast() else { break }
            let connection = BaseID(rawValue: 16 + UInt32(try reader.readUInt8() & 7))
            let isMade = kind & 0x40 != 0
            with(isOther) { agent in
                guard isMade else { return agent.connectFailed(attempt: attempt, at: time) }
                agent.connected(attempt: attempt, connection: connection, from: Self.address(50), at: time)
            }
        case 17:
            let listener = BaseID(rawValue: UInt32(try reader.readUInt8() & 7))
            let connection = BaseID(rawValue: 24 + UInt32(kind &>> 5 & 3))
            with(isOther) { _ = $0.accepted(connection: connection, on: listener, from: Self.address(51), at: time) }
        case 18: with(isOther) { $0.revokeConsent(component: UInt16(kind &>> 5 & 1) + 1, at: time) }
        case 19 where kind == 0x73: with(isOther) { $0.close(at: time) }
        case 20, 21, 22:
            let message = forge(isOther, try reader.readUInt16())
            with(isOther) { agent in
                _ = agent.receive(
                    message.span,
                    on: BaseID(rawValue: UInt32(kind &>> 5 & 3)),
                    from: Self.address(7),
                    at: time
                )
            }
        case 23:
            let bytes = try reader.read(min(reader.remaining, Int(try reader.readUInt8())))
            let base = BaseID(rawValue: UInt32(kind &>> 5 & 3))
            if isOther {
                _ = other.receive(bytes, on: base, from: Self.address(7), at: now)
            } else {
                _ = one.receive(bytes, on: base, from: Self.address(7), at: now)
            }
        default: with(isOther) { $0.note(.nameNotResolved) }
        }
        settle()
    }

    private mutating func with(_ isOther: Bool, _ body: (inout ICEAgent) -> Void) {
        if isOther { body(&other) } else { body(&one) }
    }

    private static func address(_ index: UInt16) -> SocketAddress {
        index & 0x40 == 0
            ? SocketAddress(IPAddress(ipv4: 0x0A00_0000 + UInt32(index & 15)), port: 1000 + index)
            : SocketAddress(IPAddress(ipv6: 0x2001_0DB8 &<< 32, UInt64(index & 15)), port: 1000 + index)
    }

    private func localCandidate(_ bits: UInt16) -> LocalCandidate {
        let types: [CandidateType] = [.host, .host, .serverReflexive, .relayed]
        let address = Self.address(bits & 127)
        var found = LocalCandidate(types[Int(bits &>> 8 & 3)], address, component: bits &>> 10 & 1 + 1)
        if bits & 0x1000 != 0 {
            found.transport = .tcp
            found.tcpType = TCPCandidateType.allCases[Int(bits &>> 13) % 3]
        }
        found.network = bits &>> 7 & 1
        return found
    }

    /// Delivers the oldest datagram, with one bit changed if asked; now and then it stays to come again.
    private mutating func deliver(changing change: UInt8) {
        guard !inFlight.isEmpty else { return }
        var packet = change & 7 == 7 ? inFlight[0] : inFlight.removeFirst()
        if change != 0 { packet.bytes[Int(change) % packet.bytes.count] ^= 1 &<< (change & 7) }
        // The network is a mirror: a base is reached under its number's address.
        let base = BaseID(rawValue: UInt32(packet.destination.port & 7))
        let source = Self.address(UInt16(truncatingIfNeeded: packet.base.rawValue))
        if packet.toOther {
            _ = other.receive(packet.bytes.span, on: base, from: source, at: now)
        } else {
            _ = one.receive(packet.bytes.span, on: base, from: source, at: now)
        }
    }

    /// A request that knows the password, or an answer to nothing.
    private mutating func forge(_ toOther: Bool, _ bits: UInt16) -> [UInt8] {
        let own = (toOther ? other.localDescription : one.localDescription).credentials
        let peer = (toOther ? one.localDescription : other.localDescription).credentials
        serial += 1
        let key = IntegrityKey(Array(own.password.utf8).span)
        let name = Array("\(own.usernameFragment):\(bits & 1 == 0 ? peer.usernameFragment : "none")".utf8)
        return buildBytes(capacity: 600) { output in
            let classes: [STUNClass] = [.request, .request, .success, .indication]
            var builder = STUNMessageBuilder(
                .binding,
                classes[Int(bits &>> 1 & 3)],
                TransactionID(high: serial, low: 1),
                into: &output
            )
            if bits & 8 == 0 { builder.append(.username, name.span, into: &output) }
            if bits & 16 == 0 { builder.append(.priority, UInt32(bits) &<< 8 | 255, into: &output) }
            if bits & 32 == 0 { builder.append(.useCandidate, into: &output) }
            if bits & 64 == 0 { builder.append(.nomination, UInt32(bits &>> 8), into: &output) }
            let role: AttributeType = bits & 128 == 0 ? .iceControlling : .iceControlled
            builder.append(role, UInt64(bits) &<< 48, into: &output)
            _ = try? builder.finish(protectedBy: .sha1(key), fingerprint: true, into: &output)
        }
    }

    /// Does for both what is due, and looks whether the limits hold.
    private mutating func settle() {
        settle(isOther: false)
        settle(isOther: true)
        if one.path() != nil, other.path() != nil { paths += 1 }
    }

    private mutating func settle(isOther: Bool) {
        let time = now
        var pacer = self.pacer
        var packets = inFlight
        var attempts = self.attempts
        with(isOther) { agent in
            agent.handleTimeout(at: time)
            var isIdle = false
            while !isIdle {
                var transmit: ICETransmit?
                let bytes = buildBytes(capacity: 600) { output in
                    transmit = agent.pollTransmit(at: time, pacer: &pacer, into: &output)
                }
                guard let transmit else {
                    isIdle = true
                    continue
                }
                precondition(bytes.count == transmit.byteCount && bytes.count <= 548, "a message of a false length")
                if packets.count < 64 {
                    packets.append((!isOther, transmit.base, transmit.destination, bytes))
                }
            }
            while let event = agent.pollEvent() {
                if case .connect(_, _, let attempt) = event, attempts.count < 8 { attempts.append(attempt) }
            }
            agent.checkInvariants(at: time)
        }
        self.pacer = pacer
        inFlight = packets
        self.attempts = attempts
    }
}

extension ICEAgent {
    /// Traps if the tables contradict each other, or something is due although all was done.
    func checkInvariants(at now: Instant) {
        precondition(nextTimeout.map { $0 > now } ?? true, "an agent is busy with nothing")
        let live = pairs.filter { $0.state != .removed }
        precondition(live.count == pairCount && pairCount <= configuration.pairLimit + components.count)
        precondition(live.count { $0.state.isUnfinished } == unfinishedCount)
        precondition(live.count { $0.state == .inProgress } == inProgressCount)
        precondition(remotes.count <= configuration.remoteCandidateLimit)
        precondition(locals.count <= configuration.localCandidateLimit && generations.count <= 2 + components.count)
        for index in pairs.indices where pairs[index].state != .removed {
            precondition(
                findPair(pairs[index].base, pairs[index].remoteAddress, generation: pairs[index].generation) != nil
            )
            precondition(!pairs[index].flags.contains(.consentEnded) || !pairs[index].flags.contains(.valid))
            precondition(!pairs[index].flags.contains(.presumed) || configuration.presumesPaths)
        }
        for component in components {
            if let index = component.nominated { precondition(pairs[index].state != .removed) }
            guard component.path != nil else { continue }
            guard let index = pairIndex(component.carrier) else { preconditionFailure("a path without a pair") }
            precondition(
                !pairs[index].flags.isDisjoint(with: [.valid, .presumed]),
                "data over a pair that is not valid"
            )
        }
        _ = verdict
    }
}
