import Bytes
import NetTypes
import STUN

/// Reads what `RecordWriter` wrote; throws where the bytes are none of its own.
struct RecordReader: ~Escapable {
    var reader: ByteReader

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>) { reader = ByteReader(bytes) }

    var isAtEnd: Bool { reader.remaining == 0 }

    mutating func byte() throws(ReplayError) -> UInt8 {
        do { return try reader.readUInt8() } catch { throw .truncated }
    }

    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) throws(ReplayError) -> Number {
        var value: Number = 0
        for _ in 0..<(Number.bitWidth / 8) { value = value << 8 | Number(truncatingIfNeeded: try byte()) }
        return value
    }

    mutating func flag() throws(ReplayError) -> Bool { try byte() != 0 }

    mutating func instant() throws(ReplayError) -> Instant { Instant(nanoseconds: try number(UInt64.self)) }

    mutating func span() throws(ReplayError) -> TimeSpan { TimeSpan(nanoseconds: try number(UInt64.self)) }

    mutating func bytes() throws(ReplayError) -> [UInt8] {
        let count = Int(try number(UInt32.self))
        guard count <= reader.remaining else { throw .truncated }
        var result: [UInt8] = []
        result.reserveCapacity(count)
        for _ in 0..<count { result.append(try byte()) }
        return result
    }

    mutating func text() throws(ReplayError) -> String { String(decoding: try bytes(), as: UTF8.self) }

    mutating func base() throws(ReplayError) -> BaseID { BaseID(rawValue: try number(UInt32.self)) }

    mutating func address() throws(ReplayError) -> SocketAddress {
        let family = try byte()
        let high = try number(UInt64.self)
        let low = try number(UInt64.self)
        let port = try number(UInt16.self)
        let scope = try number(UInt32.self)
        let ip = family == 4 ? IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) : IPAddress(ipv6: high, low)
        return SocketAddress(ip, port: port, scope: scope)
    }

    mutating func optionalAddress() throws(ReplayError) -> SocketAddress? { try flag() ? try address() : nil }

    mutating func candidate() throws(ReplayError) -> Candidate {
        let isResolved = try flag()
        let line = try text()
        do {
            let candidate = try Candidate(text: line)
            guard isResolved, let ip = candidate.socketAddress?.ip else { return candidate }
            return candidate.resolved(to: ip)
        } catch {
            throw .badRecord
        }
    }

    mutating func localCandidate() throws(ReplayError) -> LocalCandidate {
        guard let type = CandidateType(rawValue: try byte()), let transport = CandidateTransport(rawValue: try byte())
        else { throw .badRecord }
        let tcpType = try byte()
        let component = try number(UInt16.self)
        var candidate = LocalCandidate(type, try address(), base: try address(), component: component)
        candidate.transport = transport
        candidate.tcpType = tcpType == 0 ? nil : TCPCandidateType(rawValue: tcpType - 1)
        candidate.related = try optionalAddress()
        candidate.server = try optionalAddress()
        candidate.serverProtocol = try transportProtocol()
        candidate.network = try number(UInt16.self)
        candidate.networkCost = try number(UInt16.self)
        candidate.isVPN = try flag()
        let name = try text()
        candidate.concealedName = name.isEmpty ? nil : name
        return candidate
    }

    mutating func transportProtocol() throws(ReplayError) -> TransportProtocol {
        guard let transport = TransportProtocol(rawValue: try byte()) else { throw .badRecord }
        return transport
    }

    mutating func credentials() throws(ReplayError) -> ICECredentials {
        let (fragment, password) = (try text(), try text())
        do { return try ICECredentials(usernameFragment: fragment, password: password) } catch { throw .badRecord }
    }

    mutating func description() throws(ReplayError) -> ICEDescription {
        let credentials = try credentials()
        let options = ICEOptions(rawValue: try byte())
        let isLite = try flag()
        let pacing = try number(UInt64.self)
        return ICEDescription(
            credentials: credentials,
            options: options,
            isLite: isLite,
            pacing: pacing == .max ? nil : TimeSpan(nanoseconds: pacing)
        )
    }

    mutating func failure() throws(ReplayError) -> SendFailure {
        switch try byte() {
        case 0: return .unreachable
        case 1: return .refused
        case 2: return .notPermitted
        case 3:
            let mtu = try number(UInt16.self)
            return .messageTooBig(mtu: mtu == 0 ? nil : mtu)
        case 4: return .closed
        default: throw .badRecord
        }
    }

    mutating func fact() throws(ReplayError) -> GatheringFact {
        switch try byte() {
        case 0: return .serverAnswered(server: try address(), base: try base(), mapped: try address())
        case 1: return .serverSilent(server: try text(), transport: try transportProtocol())
        case 2:
            return .serverRefused(
                server: try text(),
                transport: try transportProtocol(),
                code: ErrorCode(rawValue: try number(UInt16.self))
            )
        case 3:
            let (server, transport) = (try text(), try transportProtocol())
            guard let trouble = ServerTrouble(rawValue: try byte()) else { throw .badRecord }
            return .serverUnreachable(server: server, transport: transport, trouble)
        case 4: return .nameNotResolved
        case 5: return .noInterfaces
        default: throw .badRecord
        }
    }

    mutating func configuration() throws(ReplayError) -> ICEConfiguration {
        guard let role = ICERole(rawValue: try byte()) else { throw .badRecord }
        var result = ICEConfiguration(role: role)
        result.isLite = try flag()
        result.componentCount = Int(try number(UInt16.self))
        result.options = ICEOptions(rawValue: try byte())
        result.asksConsent = try flag()
        result.presumesPaths = try flag()
        result.isDualStack = try flag()
        result.pairLimit = Int(try number(UInt32.self))
        result.remoteCandidateLimit = Int(try number(UInt32.self))
        result.localCandidateLimit = Int(try number(UInt32.self))
        result.burstLimit = Int(try number(UInt32.self))
        result.retransmission.requestCount = Int(try number(UInt32.self))
        result.retransmission.lastWaitFactor = try number(UInt64.self)
        result.pacing = try span()
        result.retransmission.initialTimeout = try span()
        result.retransmission.reliableTimeout = try span()
        result.patience = try span()
        result.consentInterval = try span()
        result.consentLifetime = try span()
        result.keepaliveInterval = try span()
        result.recheckInterval = try span()
        result.isRecorded = true
        return result
    }
}
