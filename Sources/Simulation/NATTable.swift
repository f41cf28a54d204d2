import NetTypes

/// The mappings of one NAT, or, where nothing is translated, the flows that a stateful firewall has seen.
struct NATTable {
    struct Mapping {
        let ipProtocol: IPProtocol
        let inside: SocketAddress
        let outside: SocketAddress
        let key: Key
        var expires: Instant
        /// To whom was sent, and until when that counts.
        var invited: [(remote: SocketAddress, until: Instant)] = []
        var isEstablished = false
        /// Made by hand or by a port mapping protocol: lets everybody in until it expires.
        var isExplicit = false
    }

    struct Key: Hashable {
        let ipProtocol: IPProtocol
        let inside: SocketAddress
        /// As much of the other side as the mapping depends on.
        let remote: SocketAddress?
    }

    private struct OuterKey: Hashable {
        let ipProtocol: IPProtocol
        let outside: SocketAddress
    }

    private struct Uninvited: Hashable {
        let outer: OuterKey
        let remote: SocketAddress
    }

    enum Outcome {
        case endpoint(SocketAddress)
        case drop(NetworkDrop)
    }

    var behavior: NATBehavior
    /// The outer addresses; empty where nothing is translated.
    var addresses: [IPAddress]
    private var mappings: [Mapping?] = []
    private var free: [Int] = []
    private var byKey: [Key: Int] = [:]
    private var byOuter: [OuterKey: [Int]] = [:]
    private var perHost: [IPAddress: Int] = [:]
    private var uninvited: [Uninvited: Instant] = [:]
    private var blocks: [IPAddress: Int] = [:]
    private var nextPort: Int
    private var created = 0
    private var entropy: Entropy

    init(_ behavior: NATBehavior, addresses: [IPAddress], entropy: Entropy) {
        self.behavior = behavior
        self.addresses = addresses
        self.entropy = entropy
        nextPort = 20_000 + Int(self.entropy.next() % 20_000)
    }

    var count: Int { mappings.count - free.count }

    private var mappingDependence: Dependence {
        if let limit = behavior.degradesAfter, created >= limit { return .addressAndPortDependent }
        return behavior.mapping
    }

    private func key(_ ipProtocol: IPProtocol, _ inside: SocketAddress, _ remote: SocketAddress) -> Key {
        let part: SocketAddress? =
            switch mappingDependence {
            case .endpointIndependent: nil
            case .addressDependent: SocketAddress(remote.ip, port: 0)
            case .addressAndPortDependent: remote
            }
        return Key(ipProtocol: ipProtocol, inside: inside, remote: part)
    }

    // MARK: Outwards

    /// Finds or makes the outer endpoint from which a packet leaves.
    mutating func outbound(
        _ ipProtocol: IPProtocol,
        from inside: SocketAddress,
        to remote: SocketAddress,
        flags: TCPFlags,
        at now: Instant
    ) -> Outcome {
        let explicit = Key(ipProtocol: ipProtocol, inside: inside, remote: nil)
        var key = key(ipProtocol, inside, remote)
        if let index = byKey[explicit], mappings[index].map({ $0.isExplicit && now < $0.expires }) == true {
            key = explicit
        }
        if let index = byKey[key] {
            if let mapping = mappings[index], now < mapping.expires {
                touch(index, remote, flags, at: now)
                return .endpoint(mapping.outside)
            }
            remove(index)
        }
        guard perHost[inside.ip, default: 0] < behavior.mappingsPerHost || sweep(inside.ip, at: now) else {
            return .drop(.mappingsExhausted)
        }
        guard let outside = allocate(ipProtocol, inside, remote, at: now) else { return .drop(.portsExhausted) }
        let index = insert(
            Mapping(ipProtocol: ipProtocol, inside: inside, outside: outside, key: key, expires: .zero)
        )
        touch(index, remote, flags, at: now)
        return .endpoint(outside)
    }

    /// The outer endpoint of a flow that has one, for ICMP errors on their way out.
    func existing(_ ipProtocol: IPProtocol, _ inside: SocketAddress, _ remote: SocketAddress) -> SocketAddress? {
        byKey[key(ipProtocol, inside, remote)].flatMap { mappings[$0]?.outside }
    }

    private mutating func touch(_ index: Int, _ remote: SocketAddress, _ flags: TCPFlags, at now: Instant) {
        guard var mapping = mappings[index] else { return }
        mappings[index] = nil
        if behavior.refresh.contains(.outbound) || mapping.expires == .zero {
            extend(&mapping, flags, at: now)
        }
        if behavior.filtering != .endpointIndependent || mapping.ipProtocol == .tcp {
            let until = behavior.filterTimeout.map { now + $0 } ?? .distantFuture
            if let place = mapping.invited.firstIndex(where: { $0.remote == remote }) {
                mapping.invited[place].until = until
            } else {
                if mapping.invited.count >= 64 { mapping.invited.removeAll { $0.until <= now } }
                mapping.invited.append((remote, until))
            }
        }
        mappings[index] = mapping
    }

    private func extend(_ mapping: inout Mapping, _ flags: TCPFlags, at now: Instant) {
        guard !mapping.isExplicit else { return }
        var timeout = behavior.udpTimeout
        if mapping.ipProtocol == .tcp {
            if !flags.isDisjoint(with: [.finish, .reset]) { mapping.isEstablished = false }
            timeout = mapping.isEstablished ? behavior.tcpEstablishedTimeout : behavior.tcpTransitoryTimeout
        }
        mapping.expires = now + timeout
    }

    // MARK: Inwards

    /// Finds the inner endpoint to which a packet from `remote` may go on.
    mutating func inbound(
        _ ipProtocol: IPProtocol,
        to outside: SocketAddress,
        from remote: SocketAddress,
        flags: TCPFlags,
        at now: Instant
    ) -> Outcome {
        let outer = OuterKey(ipProtocol: ipProtocol, outside: outside)
        if case .blocksSender = behavior.uninvited,
            let until = uninvited[Uninvited(outer: outer, remote: remote)], now < until
        {
            return .drop(.blacklisted)
        }
        guard let index = candidate(outer, remote, at: now), var mapping = mappings[index] else {
            return refuse(outer, remote, .noMapping, at: now)
        }
        let isInvited = mapping.invited.contains { $0.until > now && admits($0.remote, remote) }
        guard isInvited || behavior.filtering == .endpointIndependent || mapping.isExplicit else {
            return refuse(outer, remote, .filtered, at: now)
        }
        if ipProtocol == .tcp {
            let isOpening = flags.isDisjoint(with: [.acknowledge, .reset]) && flags.contains(.synchronize)
            if isOpening, !behavior.allowsSimultaneousOpen, mapping.invited.contains(where: { $0.remote == remote }) {
                return .drop(.simultaneousOpen)
            }
            if flags.contains(.acknowledge), !flags.contains(.reset) { mapping.isEstablished = true }
        }
        if behavior.refresh.contains(.inbound) { extend(&mapping, flags, at: now) }
        mappings[index] = mapping
        return .endpoint(mapping.inside)
    }

    /// The inner endpoint of a flow, for ICMP errors on their way in.
    func inside(
        _ ipProtocol: IPProtocol,
        _ outside: SocketAddress,
        _ remote: SocketAddress,
        at now: Instant
    )
        -> SocketAddress?
    {
        candidate(OuterKey(ipProtocol: ipProtocol, outside: outside), remote, at: now).flatMap { mappings[$0]?.inside }
    }

    /// Of several mappings on one port, the one that was made for this sender, else the youngest.
    private func candidate(_ outer: OuterKey, _ remote: SocketAddress, at now: Instant) -> Int? {
        guard let indices = byOuter[outer] else { return nil }
        var youngest: Int?
        for index in indices {
            guard let mapping = mappings[index], now < mapping.expires else { continue }
            if indices.count == 1 { return index }
            if mapping.key.remote == remote || mapping.invited.contains(where: { $0.remote == remote }) {
                return index
            }
            youngest = index
        }
        return youngest
    }

    private func admits(_ invited: SocketAddress, _ remote: SocketAddress) -> Bool {
        switch behavior.filtering {
        case .endpointIndependent: true
        case .addressDependent: invited.ip == remote.ip
        case .addressAndPortDependent: invited == remote
        }
    }

    private mutating func refuse(
        _ outer: OuterKey,
        _ remote: SocketAddress,
        _ reason: NetworkDrop,
        at now: Instant
    ) -> Outcome {
        let span: TimeSpan
        switch behavior.uninvited {
        case .nothing: return .drop(reason)
        case .blocksSender(let time), .takesPort(let time): span = time
        }
        if uninvited.count >= 10_000 { uninvited = uninvited.filter { now < $0.value } }
        if uninvited.count < 10_000 { uninvited[Uninvited(outer: outer, remote: remote)] = now + span }
        return .drop(reason)
    }

    // MARK: Making and ending mappings

    /// Opens a port to everybody for an inner endpoint; the outer endpoint, or `nil` if the port is another host's.
    mutating func map(
        _ ipProtocol: IPProtocol,
        _ inside: SocketAddress,
        suggested: UInt16?,
        until expires: Instant,
        at now: Instant
    ) -> SocketAddress? {
        let key = Key(ipProtocol: ipProtocol, inside: inside, remote: nil)
        if let index = byKey[key], let mapping = mappings[index], now < mapping.expires {
            mappings[index]?.isExplicit = true
            mappings[index]?.expires = expires
            return mapping.outside
        }
        guard let address = addresses.first else { return nil }
        var outside = suggested.map { SocketAddress(address, port: $0) }
        if let wish = outside, !isFree(ipProtocol, wish, nil, at: now) { outside = nil }
        guard let outside = outside ?? randomPort(ipProtocol, address, inside, inside, at: now) else { return nil }
        if let stale = byKey[key] { remove(stale) }
        var mapping = Mapping(ipProtocol: ipProtocol, inside: inside, outside: outside, key: key, expires: expires)
        mapping.isExplicit = true
        _ = insert(mapping)
        return outside
    }

    /// Lets everybody in to a mapping that is there.
    mutating func makeExplicit(_ ipProtocol: IPProtocol, _ inside: SocketAddress, until expires: Instant) {
        guard let index = byKey[Key(ipProtocol: ipProtocol, inside: inside, remote: nil)] else { return }
        mappings[index]?.isExplicit = true
        mappings[index]?.expires = expires
    }

    /// Ends what `map` has made.
    mutating func unmap(_ ipProtocol: IPProtocol, _ inside: SocketAddress) {
        let key = Key(ipProtocol: ipProtocol, inside: inside, remote: nil)
        if let index = byKey[key], mappings[index]?.isExplicit == true { remove(index) }
    }

    /// Forgets everything, as a box that was switched off.
    mutating func reset() {
        mappings = []
        free = []
        byKey = [:]
        byOuter = [:]
        perHost = [:]
        uninvited = [:]
        blocks = [:]
        nextPort = 20_000 + Int(entropy.next() % 20_000)
    }

    private mutating func insert(_ mapping: Mapping) -> Int {
        created += 1
        let index: Int
        if let place = free.popLast() {
            index = place
            mappings[place] = mapping
        } else {
            index = mappings.count
            mappings.append(mapping)
        }
        byKey[mapping.key] = index
        byOuter[OuterKey(ipProtocol: mapping.ipProtocol, outside: mapping.outside), default: []].append(index)
        perHost[mapping.inside.ip, default: 0] += 1
        return index
    }

    private mutating func remove(_ index: Int) {
        guard let mapping = mappings[index] else { return }
        mappings[index] = nil
        free.append(index)
        byKey[mapping.key] = nil
        let outer = OuterKey(ipProtocol: mapping.ipProtocol, outside: mapping.outside)
        byOuter[outer]?.removeAll { $0 == index }
        if byOuter[outer]?.isEmpty == true { byOuter[outer] = nil }
        perHost[mapping.inside.ip, default: 1] -= 1
    }

    /// Ends what has expired of one host; whether that made room.
    private mutating func sweep(_ host: IPAddress, at now: Instant) -> Bool {
        for index in mappings.indices {
            if let mapping = mappings[index], mapping.inside.ip == host, mapping.expires <= now { remove(index) }
        }
        return perHost[host, default: 0] < behavior.mappingsPerHost
    }
}

// MARK: - Ports

extension NATTable {
    private mutating func allocate(
        _ ipProtocol: IPProtocol,
        _ inside: SocketAddress,
        _ remote: SocketAddress,
        at now: Instant
    ) -> SocketAddress? {
        guard !addresses.isEmpty else { return inside }
        let address = address(for: inside)
        let ports = mappingDependence == behavior.mapping ? behavior.ports : .random
        switch ports {
        case .preserve, .preserveOverload:
            let same = SocketAddress(address, port: inside.port)
            let overloads = ports == .preserveOverload
            if isFree(ipProtocol, same, overloads ? .some(remote) : nil, at: now) { return same }
        case .contiguous: return step(ipProtocol, address, inside, 1, at: now)
        case .delta(let step): return self.step(ipProtocol, address, inside, step, at: now)
        case .block(let size):
            let block = blocks[inside.ip] ?? blocks.count
            blocks[inside.ip] = block
            let first = 1024 + block * size
            guard first + size <= 65_536 else { return nil }
            return random(first..<first + size, ipProtocol, address, inside, at: now)
        case .random: break
        }
        return randomPort(ipProtocol, address, inside, remote, at: now)
    }

    private mutating func address(for inside: SocketAddress) -> IPAddress {
        guard addresses.count > 1 else { return addresses[0] }
        let pick = behavior.pairsAddresses ? inside.ip.flatHash(seed: 0) : entropy.next()
        return addresses[Int(pick % UInt64(addresses.count))]
    }

    private mutating func randomPort(
        _ ipProtocol: IPProtocol,
        _ address: IPAddress,
        _ inside: SocketAddress,
        _ remote: SocketAddress,
        at now: Instant
    ) -> SocketAddress? { random(1024..<65_536, ipProtocol, address, inside, at: now) }

    private mutating func random(
        _ range: Range<Int>,
        _ ipProtocol: IPProtocol,
        _ address: IPAddress,
        _ inside: SocketAddress,
        at now: Instant
    ) -> SocketAddress? {
        for _ in 0..<4 {
            let port = range.lowerBound + Int(entropy.next() % UInt64(range.count))
            let outside = SocketAddress(address, port: UInt16(port))
            if suits(port, inside), isFree(ipProtocol, outside, nil, at: now) { return outside }
        }
        let start = Int(entropy.next() % UInt64(range.count))
        for offset in range.indices {
            let port = range.lowerBound + (start + offset - range.lowerBound) % range.count
            let outside = SocketAddress(address, port: UInt16(port))
            if suits(port, inside), isFree(ipProtocol, outside, nil, at: now) { return outside }
        }
        return nil
    }

    private mutating func step(
        _ ipProtocol: IPProtocol,
        _ address: IPAddress,
        _ inside: SocketAddress,
        _ step: Int,
        at now: Instant
    ) -> SocketAddress? {
        for _ in 0..<65_536 {
            nextPort += step
            if !(1024..<65_536).contains(nextPort) { nextPort = step < 0 ? 65_535 : 1024 }
            let outside = SocketAddress(address, port: UInt16(nextPort))
            if suits(nextPort, inside), isFree(ipProtocol, outside, nil, at: now) { return outside }
        }
        return nil
    }

    private func suits(_ port: Int, _ inside: SocketAddress) -> Bool {
        !behavior.keepsParity || port % 2 == Int(inside.port) % 2
    }

    /// Whether an outer endpoint can be given out; for overloading, whether it can for this peer.
    private mutating func isFree(
        _ ipProtocol: IPProtocol,
        _ outside: SocketAddress,
        _ remote: SocketAddress?,
        at now: Instant
    ) -> Bool {
        let outer = OuterKey(ipProtocol: ipProtocol, outside: outside)
        if case .takesPort = behavior.uninvited, let remote,
            let until = uninvited[Uninvited(outer: outer, remote: remote)], now < until
        {
            return false
        }
        guard let indices = byOuter[outer] else { return true }
        var isFree = true
        for index in indices {
            guard let mapping = mappings[index], now < mapping.expires else {
                remove(index)
                continue
            }
            guard let remote, let other = mapping.key.remote else {
                // Overloading without regard to the peer: the youngest mapping wins.
                if remote == nil { isFree = false }
                continue
            }
            if other == remote || other == SocketAddress(remote.ip, port: 0) { isFree = false }
        }
        return isFree
    }
}
