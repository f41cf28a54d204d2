import Bytes
public import NetTypes
import STUN

/// Permissions and channels (RFC 8656 §9, §10, §12).
extension TURNClient {
    private static var permissionLifetime: TimeSpan { .seconds(UInt64(TURNLifetime.permissionSeconds)) }
    private static var channelLifetime: TimeSpan { .seconds(UInt64(TURNLifetime.channelSeconds)) }
    /// When a permission is asked for again: a whole transaction before its end.
    private static var permissionRefresh: TimeSpan { .seconds(240) }
    /// When a channel is bound again: before its permission is due, which the binding refreshes too.
    private static var channelRefresh: TimeSpan { .seconds(220) }
    /// How long number and peer of an ended channel are used in no other pair (RFC 8656 §12, turn 138).
    private static var channelRest: TimeSpan { .seconds(300) }

    /// Lets the server relay to and from these addresses, now or as soon as there is an allocation, and until `forbid`.
    ///
    /// A `.permitted` or `.permissionFailed` event follows for each that is new.
    ///
    /// - Returns: `false`, and asks for none of the rest, if more permissions are wanted than are kept.
    public mutating func permit(_ addresses: [IPAddress], at now: Instant) -> Bool {
        var new: [IPAddress] = []
        var isTaken = true
        for ip in addresses {
            if peers.permissions[ip] != nil {
                peers.updatePermission(ip) { $0.isWanted = true }
            } else if !isEnding, peers.addPermission(ip) {
                new.append(ip)
            } else {
                isTaken = false
            }
        }
        request(new, at: now)
        return isTaken
    }

    /// Lets the permission of an address run out.
    public mutating func forbid(_ ip: IPAddress) { peers.updatePermission(ip) { $0.isWanted = false } }

    /// Binds a channel to a peer, now or as soon as there is an allocation, and keeps it until `unbind`.
    ///
    /// A `.channelBound` or `.channelFailed` event follows. Data goes by Send indications until then.
    ///
    /// - Returns: The channel's number; `nil` if there is one already, or if more are wanted than are kept.
    public mutating func bindChannel(to peer: SocketAddress, at now: Instant) -> ChannelNumber? {
        let peer = SocketAddress(peer.ip, port: peer.port)
        guard !isEnding, peer.port != 0, configuration.relayed == .udp else { return nil }
        if let channel = peers.channels[peer] {
            guard !channel.isWanted else { return nil }
            // The pair of before its end: the only one that its number may be in meanwhile.
            peers.updateChannel(peer) { $0.isWanted = true }
            _ = peers.permissions[peer.ip] != nil || peers.addPermission(peer.ip)
            submit(.bind(peer, channel.number), at: now)
            return channel.number
        }
        guard peers.permissions[peer.ip] != nil || peers.addPermission(peer.ip),
            let number = peers.addChannel(peer)
        else { return nil }
        submit(.bind(peer, number), at: now)
        return number
    }

    /// Lets a channel run out; data goes by Send indications from now on.
    public mutating func unbind(_ peer: SocketAddress, at now: Instant) {
        let peer = SocketAddress(peer.ip, port: peer.port)
        guard let channel = peers.channels[peer], channel.isWanted else { return }
        // A request may be on its way, and its binding would begin then.
        let end = channel.expires == .zero ? now + Self.channelLifetime : channel.expires
        let rested = end + Self.channelRest
        peers.updateChannel(peer) { channel in
            channel.isWanted = false
            channel.expires = .zero
            channel.refreshAt = rested
        }
        timers.push(.rest(channel.number, rested), at: rested)
    }

    var isEnding: Bool {
        switch phase {
        case .idle, .allocating, .allocated: false
        case .deleting, .ended: true
        }
    }

    /// Asks for permissions, as many in one request as fit.
    private mutating func request(_ addresses: [IPAddress], at now: Instant) {
        var rest = addresses[...]
        while !rest.isEmpty {
            submit(.permit(Array(rest.prefix(configuration.limits.peersPerRequest))), at: now)
            rest = rest.dropFirst(configuration.limits.peersPerRequest)
        }
    }

    // MARK: Responses

    mutating func permitted(_ addresses: [IPAddress], since started: Instant) {
        for ip in addresses where peers.permissions[ip] != nil { notePermission(ip, since: started) }
    }

    private mutating func notePermission(_ ip: IPAddress, since started: Instant) {
        let isNew = peers.permissions[ip]?.expires == .zero
        let refresh = started + Self.permissionRefresh
        peers.updatePermission(ip) { permission in
            permission.expires = started + Self.permissionLifetime
            permission.refreshAt = refresh
            permission.isRequested = false
        }
        timers.push(.permission(ip, refresh), at: refresh)
        peers.dropHeld(ip)
        if isNew { tell(.permitted(ip)) }
    }

    /// One bad address spoils a request for several (turn 124): they are asked for one by one.
    mutating func permissionFailed(_ addresses: [IPAddress], _ failure: TURNClientFailure, at now: Instant) {
        guard addresses.count == 1 else {
            for ip in addresses { submit(.permit([ip]), at: now) }
            return
        }
        for ip in addresses where peers.permissions[ip] != nil {
            peers.removePermission(ip)
            tell(.permissionFailed(ip, failure))
        }
    }

    mutating func bound(_ peer: SocketAddress, _ number: ChannelNumber, since started: Instant) {
        if peers.permissions[peer.ip] == nil { _ = peers.addPermission(peer.ip) }
        notePermission(peer.ip, since: started)
        guard let channel = peers.channels[peer], channel.number == number, channel.isWanted else { return }
        let refresh = started + Self.channelRefresh
        peers.updateChannel(peer) { channel in
            channel.expires = started + Self.channelLifetime
            channel.refreshAt = refresh
        }
        timers.push(.channel(peer, refresh), at: refresh)
        if channel.expires == .zero { tell(.channelBound(peer, number)) }
    }

    mutating func channelFailed(
        _ peer: SocketAddress,
        _ number: ChannelNumber,
        _ failure: TURNClientFailure,
        at now: Instant
    ) {
        guard failure != .refused(.badRequest) else { return delete(.failed(.outOfSync), at: now) }
        if let channel = peers.channels[peer], channel.number == number, channel.isWanted {
            unbind(peer, at: now)
            tell(.channelFailed(peer, failure))
        }
        // The permission that would have come with the channel is asked for by itself, or was refused with it.
        guard peers.permissions[peer.ip]?.isRequested == true else { return }
        if case .refused(.forbidden) = failure { return permissionFailed([peer.ip], failure, at: now) }
        if case .refused(.peerAddressFamilyMismatch) = failure { return permissionFailed([peer.ip], failure, at: now) }
        submit(.permit([peer.ip]), at: now)
    }

    // MARK: Time

    mutating func handleTimers(at now: Instant) {
        var due: [IPAddress] = []
        while let timer = timers.pop(at: now) {
            switch timer {
            case .refresh(let instant):
                refreshTimerFired(instant, at: now)
            case .permission(let ip, let instant):
                if permissionDue(ip, instant, at: now) { due.append(ip) }
            case .channel(let peer, let instant): channelDue(peer, instant, at: now)
            case .rest(let number, let instant): restOver(number, instant)
            }
        }
        if case .allocated = phase { request(due, at: now) }
    }

    /// Whether the permission is to be asked for again.
    private mutating func permissionDue(_ ip: IPAddress, _ instant: Instant, at now: Instant) -> Bool {
        guard let permission = peers.permissions[ip], permission.refreshAt == instant else { return false }
        guard permission.isWanted else {
            guard now < permission.expires else {
                peers.removePermission(ip)
                return false
            }
            peers.updatePermission(ip) { $0.refreshAt = permission.expires }
            timers.push(.permission(ip, permission.expires), at: permission.expires)
            return false
        }
        guard !permission.isRequested else { return false }
        peers.updatePermission(ip) { $0.isRequested = true }
        return true
    }

    private mutating func channelDue(_ peer: SocketAddress, _ instant: Instant, at now: Instant) {
        guard let channel = peers.channels[peer], channel.refreshAt == instant, channel.isWanted else { return }
        submit(.bind(peer, channel.number), at: now)
    }

    private mutating func restOver(_ number: ChannelNumber, _ instant: Instant) {
        // Bound again meanwhile, it rests when that ends.
        guard let peer = peers.peersByNumber[number], let channel = peers.channels[peer], !channel.isWanted,
            channel.refreshAt == instant
        else { return }
        peers.endRest(number)
    }
}
