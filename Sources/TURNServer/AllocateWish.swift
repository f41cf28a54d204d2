import Bytes
import NetTypes
import STUN
import TURN

/// What an Allocate request asks for, after the checks of RFC 8656 §7.2 that need no state.
struct AllocateWish {
    /// Why the request is refused.
    struct Refusal: Error {
        let code: ErrorCode
        /// What the code does not tell, in a few words.
        var reason = ""

        init(_ code: ErrorCode, _ reason: String = "") {
            self.code = code
            self.reason = reason
        }

        /// An attribute that cannot be read.
        init(_ error: STUNError) { self.init(.badRequest, error.reason) }
    }

    let transport: RelayedTransport
    /// The families wanted: one, or both for a dual allocation.
    ///
    /// Empty if a token tells.
    let families: FamilySet
    let ports: TURNServerShared.PortWish
    let token: UInt64?
    let lifetime: TimeSpan
    /// Whether the client wants a MOBILITY-TICKET.
    let wantsTicket: Bool

    /// Goes through the checks in the order of the text.
    init(
        _ request: borrowing STUNMessageView,
        _ configuration: borrowing TURNServerConfiguration,
        _ shared: TURNServerShared,
        client: ClientTuple
    ) throws(Refusal) {
        // RFC 8656 §21.4: no allocation for a client behind such a tunnel.
        guard !AddressForms.isForbiddenTunnel(client.remote.ip) else { throw Refusal(.forbidden, "Teredo or 6to4") }
        guard let number = try Self.byte(request, .requestedTransport, of: 4) else {
            throw Refusal(.badRequest, "REQUESTED-TRANSPORT is missing")
        }
        transport = RelayedTransport(rawValue: number)
        switch transport {
        case .udp: break
        case .tcp where configuration.relaysTCP:
            // RFC 6062 §5.1: a stream to the client, and nothing that only datagrams have.
            guard client.transport.isStream, !request.contains(.evenPort), !request.contains(.dontFragment),
                !request.contains(.reservationToken)
            else { throw Refusal(.badRequest, "TCP relays need a TCP client and no UDP options") }
        default: throw Refusal(.unsupportedTransportProtocol)
        }
        let evenPort = try Self.byte(request, .evenPort, of: 1)
        let requested = try Self.byte(request, .requestedAddressFamily, of: 4)
        let additional = try Self.byte(request, .additionalAddressFamily, of: 4)
        lifetime = try Self.lifetime(request, configuration.lifetimes)
        wantsTicket = try Self.wantsTicket(request, configuration, transport)
        if let token = try Self.token(request) {
            guard evenPort == nil, requested == nil, additional == nil else {
                throw Refusal(.badRequest, "RESERVATION-TOKEN goes with no other wish")
            }
            (self.token, families, ports) = (token, [], .any)
            return
        }
        token = nil
        guard requested == nil || additional == nil else {
            throw Refusal(.badRequest, "REQUESTED- or ADDITIONAL-ADDRESS-FAMILY, not both")
        }
        let wantsNext = evenPort.map { $0 & 0x80 != 0 } ?? false
        ports = wantsNext ? .evenWithNext : evenPort != nil ? .even : .any
        if let additional {
            // 0x02 is the only value there is, and a pair of ports cannot be had for two families.
            guard additional == 2 else { throw Refusal(.badRequest, "ADDITIONAL-ADDRESS-FAMILY must be IPv6") }
            guard !wantsNext else { throw Refusal(.badRequest, "no pair of ports for two families") }
            families = [.ipv4, .ipv6]
            return
        }
        families = FamilySet(try Self.family(requested, configuration, shared, client))
    }

    /// An empty MOBILITY-TICKET asks for one (RFC 8016 §3.1.2).
    ///
    /// Departure: not for relayed TCP addresses, whose connections end with the control connection (RFC 6062 §5.1).
    private static func wantsTicket(
        _ request: borrowing STUNMessageView,
        _ configuration: borrowing TURNServerConfiguration,
        _ transport: RelayedTransport
    ) throws(Refusal) -> Bool {
        guard let ticket = request.value(.mobilityTicket) else { return false }
        guard ticket.count == 0 else { throw Refusal(.badRequest, "MOBILITY-TICKET must be empty") }
        guard configuration.allowsMobility, transport == .udp else { throw Refusal(.mobilityForbidden) }
        return true
    }

    private static func family(
        _ requested: UInt8?,
        _ configuration: borrowing TURNServerConfiguration,
        _ shared: TURNServerShared,
        _ client: ClientTuple
    ) throws(Refusal) -> AddressFamily {
        let family: AddressFamily
        switch requested {
        case 1: family = .ipv4
        case 2: family = .ipv6
        case nil:
            let own = client.remote.family
            family = configuration.followsClientFamily && shared.hasFamily(own) ? own : .ipv4
        default: throw Refusal(.addressFamilyNotSupported)
        }
        guard shared.hasFamily(family) else { throw Refusal(.addressFamilyNotSupported) }
        return family
    }

    /// The lifetime that is granted: at least the default, at most the maximum (RFC 8656 §7.2).
    static func lifetime(
        _ request: borrowing STUNMessageView,
        _ lifetimes: TURNServerLifetimes
    ) throws(Refusal) -> TimeSpan {
        guard let asked = try seconds(request) else { return lifetimes.default }
        return max(lifetimes.default, min(.seconds(UInt64(asked)), lifetimes.maximum))
    }

    /// LIFETIME as it stands in the request.
    static func seconds(_ request: borrowing STUNMessageView) throws(Refusal) -> UInt32? {
        do {
            return try request.value(.lifetime, byteCount: 4)?.bigEndianUInt32(at: 0)
        } catch {
            throw Refusal(error)
        }
    }

    /// The first byte of an attribute that must have a certain length; reserved bits behind it are ignored.
    static func byte(
        _ request: borrowing STUNMessageView,
        _ type: AttributeType,
        of count: Int
    ) throws(Refusal) -> UInt8? {
        do {
            return try request.value(type, byteCount: count)?[0]
        } catch {
            throw Refusal(error)
        }
    }

    private static func token(_ request: borrowing STUNMessageView) throws(Refusal) -> UInt64? {
        do {
            return try request.value(.reservationToken, byteCount: 8)?.bigEndianUInt64(at: 0)
        } catch {
            throw Refusal(error)
        }
    }
}
