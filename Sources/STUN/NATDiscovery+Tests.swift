import NetTypes

/// The tests of RFC 5780 §4, and what follows from each.
extension NATDiscovery {
    /// Whether an answer may come from there: from elsewhere only if that was asked for.
    func isExpected(_ source: SocketAddress, for probe: Probe) -> Bool {
        switch probe.purpose {
        // What the answer tells is where it comes from; its identifier proves that it is one.
        case .filtering: true
        case .mapping, .secondAddress, .hairpin, .fragments, .bind, .check: source == probe.target.unmapped
        }
    }

    mutating func finish(
        _ probe: Probe,
        _ response: borrowing STUNMessageView,
        from source: SocketAddress,
        on socket: Int,
        at now: Instant
    ) {
        if response.messageClass == .error {
            let code = (try? response.errorCode()) ?? nil
            return refuse(probe, code?.description ?? "a malformed error", at: now)
        }
        let mapped = (try? response.xorMappedAddress()) ?? (try? response.mappedAddress()) ?? nil
        guard let mapped = mapped?.unmapped else { return refuse(probe, "no mapped address", at: now) }
        switch probe.purpose {
        case .mapping(1): finishConnectivity(response, mapped, at: now)
        case .mapping(let number): finishMapping(number, mapped, at: now)
        case .filtering(let change): finishFiltering(change, from: source)
        case .secondAddress: startHairpin(with: mapped, at: now)
        // A server answered at our mapped address: that is not a NAT that turns datagrams around.
        case .hairpin: finishHairpin(false)
        case .fragments: report.fragments = .found(true)
        case .bind(let index):
            firstMapped[index] = mapped
            silentUntil[index] = now + options.silences[index]
        case .check(let index):
            note(options.silences[index], isAlive: socket == Self.silentSocket(index))
        }
    }

    /// No answer came.
    mutating func finishSilently(_ probe: Probe, at now: Instant) {
        switch probe.purpose {
        case .mapping(1): break
        case .mapping: report.mapping = .serverLacks("an answer from its other address")
        case .filtering(let change): finishFiltering(change, from: nil)
        case .secondAddress, .hairpin: finishHairpin(false)
        case .fragments: report.fragments = .found(false)
        case .bind: break
        case .check(let index): note(options.silences[index], isAlive: false)
        }
    }

    private mutating func refuse(_ probe: Probe, _ words: String, at now: Instant) {
        switch probe.purpose {
        case .mapping(1): (report.hasUDP, report.mapping) = (true, .serverLacks("a useful answer (\(words))"))
        case .mapping: report.mapping = .serverLacks("a useful answer from its other address (\(words))")
        case .filtering: report.filtering = .serverLacks("CHANGE-REQUEST (\(words))")
        case .secondAddress, .hairpin: finishHairpin(false)
        case .fragments: report.fragments = .serverLacks("PADDING (\(words))")
        case .bind, .check: report.lifetime = .serverLacks("RESPONSE-PORT (\(words))")
        }
    }

    // MARK: Connectivity and mapping (§4.2, §4.3)

    private mutating func finishConnectivity(
        _ response: borrowing STUNMessageView,
        _ mapped: SocketAddress,
        at now: Instant
    ) {
        report.hasUDP = true
        report.mapped = mapped
        report.software = response.string(.software)
        if let address = (try? response.otherAddress()) ?? nil {
            // Only another address and another port of our family can tell anything.
            let address = address.unmapped
            if address.family == server.family, address.ip != server.ip, address.port != server.port, address.port != 0,
                !address.ip.isUnspecified
            {
                other = address
            } else {
                (report.mapping, report.filtering) = (.serverLacks("a usable OTHER-ADDRESS"), .untested)
            }
        } else {
            let words = "a second address (no OTHER-ADDRESS, RFC 5780 §6)"
            (report.mapping, report.filtering) = (.serverLacks(words), .serverLacks(words))
        }
        if report.isTranslated == false { report.mapping = .found(.endpointIndependent) }
        if let other {
            if report.isTranslated != false {
                send(.mapping(2), from: 0, to: SocketAddress(other.ip, port: server.port), at: now)
            }
            for change in [ChangeRequest(ip: true, port: true), ChangeRequest(ip: false, port: true)] {
                let flags: UInt8 = (change.ip ? 4 : 0) | (change.port ? 2 : 0)
                send(.filtering(change), from: 1, to: server, [.init(.changeRequest, [0, 0, 0, flags])], at: now)
            }
        }
        if options.hairpin, report.isTranslated == true { send(.secondAddress, from: 2, to: server, at: now) }
        if options.fragments {
            let zeros = [UInt8](repeating: 0, count: Self.paddingByteCount)
            send(.fragments, from: 3, to: server, [.init(.padding, zeros)], at: now)
        }
        for index in options.silences.indices.prefix(Self.lifetimeLimit) {
            send(.bind(index), from: Self.silentSocket(index), to: server, at: now)
        }
    }

    private mutating func finishMapping(_ number: Int, _ mapped: SocketAddress, at now: Instant) {
        guard number == 2 else {
            report.mapping = .found(mapped == secondMapped ? .addressDependent : .addressAndPortDependent)
            return
        }
        secondMapped = mapped
        guard mapped != report.mapped, let other else {
            report.mapping = .found(.endpointIndependent)
            return
        }
        send(.mapping(3), from: 0, to: other, at: now)
    }

    // MARK: Filtering (§4.4)

    /// Both tests go on at once: what is dropped opens no filter, and both send to the same address and port.
    private mutating func finishFiltering(_ change: ChangeRequest, from source: SocketAddress?) {
        guard report.filtering.value == nil, case .untested = report.filtering else { return }
        if let source {
            // An answer from where it was asked for is none from elsewhere.
            guard let other, source.port == other.port, source.ip == (change.ip ? other.ip : server.ip) else {
                report.filtering = .serverLacks("CHANGE-REQUEST: it answered from another socket than it was asked to")
                return
            }
            secondAnswered.insert(change)
            if change.ip { report.filtering = .found(.endpointIndependent) }
        }
        let isPending = probes.contains { probe in
            if case .filtering = probe.purpose { return true }
            return false
        }
        guard !isPending, case .untested = report.filtering else { return }
        report.filtering = .found(secondAnswered.isEmpty ? .addressAndPortDependent : .addressDependent)
    }

    // MARK: Hairpin

    /// Two sockets send to each other's mapped addresses, so that each has let the other in.
    private mutating func startHairpin(with mapped: SocketAddress, at now: Instant) {
        guard let first = report.mapped else { return }
        send(.hairpin, from: 0, to: mapped, at: now)
        send(.hairpin, from: 2, to: first, at: now)
    }

    mutating func finishHairpin(_ isThere: Bool) {
        if isThere {
            report.hairpin = .found(true)
            probes.removeAll { $0.purpose == .hairpin }
        } else if report.hairpin == .untested, !probes.contains(where: { $0.purpose == .hairpin }) {
            report.hairpin = .found(false)
        }
    }

    // MARK: Lifetime (§4.6)

    static func silentSocket(_ index: Int) -> Int { 4 + 2 * index }

    /// Asks from a second socket for an answer to the first one's port.
    mutating func check(_ index: Int, at now: Instant) {
        guard let port = firstMapped[index]?.port else { return }
        // What a longer silence would show is known already.
        if let gone = report.lifetime.value?.gone, gone <= options.silences[index] { return }
        let value = [UInt8(port >> 8), UInt8(port & 255), 0, 0]
        send(.check(index), from: Self.silentSocket(index) + 1, to: server, [.init(.responsePort, value)], at: now)
    }

    private mutating func note(_ silence: TimeSpan, isAlive: Bool) {
        var lifetime: NATLifetime
        switch report.lifetime {
        case .found(let known): lifetime = known
        case .untested: lifetime = NATLifetime()
        case .serverLacks: return
        }
        if isAlive {
            lifetime.alive = max(lifetime.alive ?? .zero, silence)
        } else {
            lifetime.gone = min(lifetime.gone ?? silence, silence)
            // Longer silences need not be waited for.
            for index in silentUntil.keys where options.silences[index] >= silence { silentUntil[index] = nil }
        }
        report.lifetime = .found(lifetime)
    }
}
