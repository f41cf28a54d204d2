import EventLoop
import NetTypes
import STUN

/// A client that says what it is told to, right or wrong.
final class Client {
    let probe: Probe
    let wire: any Wire
    let server: SocketAddress
    let transport: TransportProtocol
    /// What requests are signed with; set by the first that needs it.
    private(set) var login: Login?
    private var hasAllocation = false
    private var deliveries: [Arrival] = []

    init(_ probe: Probe, _ wire: any Wire, server: SocketAddress, transport: TransportProtocol) {
        self.probe = probe
        self.wire = wire
        self.server = server
        self.transport = transport
    }

    // MARK: Requests

    /// Sends a message and waits for its answer; over UDP it is sent up to three times.
    ///
    /// - Throws: `.failed` if none comes.
    func exchange(_ message: RawMessage) throws(Finding) -> Reply {
        probe.noteSent(message.name)
        let end = MonotonicClock.now() + probe.target.answerTime
        for part: UInt64 in [4, 2, 1] {
            wire.send(message.bytes)
            let wait = TimeSpan(nanoseconds: probe.target.answerTime.nanoseconds / part)
            let deadline = transport.isStream ? end : min(end, MonotonicClock.now() + wait)
            if let reply = answer(to: message.transactionID, until: deadline) {
                probe.noteCame(reply.name)
                return reply
            }
            if transport.isStream { break }
        }
        let reason = wire.isClosed ? "the server closed the connection" : "no answer"
        throw .failed("\(reason) to \(message.name)")
    }

    /// The answer to a request that was sent already; what comes besides is kept for `delivery`.
    func answer(to transactionID: TransactionID, until deadline: Instant) -> Reply? {
        while let arrival = wire.receive(until: deadline) {
            if let reply = Reply(arrival.bytes, from: arrival.source), reply.message.transactionID == transactionID,
                reply.messageClass == .success || reply.messageClass == .error
            {
                return reply
            }
            deliveries.append(arrival)
        }
        return nil
    }

    /// Sends a request that is signed as the server demands; a stale nonce is replaced once.
    func request(_ method: STUNMethod, _ attributes: [RawAttribute] = []) throws(Finding) -> Reply {
        let login = try logIn()
        let reply = try request(method, attributes, as: login)
        guard reply.errorCode == 438, let nonce = reply.value(.nonce) else { return reply }
        var renewed = login
        renewed.nonce = nonce
        self.login = renewed
        return try request(method, attributes, as: renewed)
    }

    /// Sends a request that is signed with just this.
    func request(_ method: STUNMethod, _ attributes: [RawAttribute], as login: Login) throws(Finding) -> Reply {
        try exchange(signed(method, attributes, as: login))
    }

    /// A request that is signed, to be changed or sent by the caller.
    ///
    /// Where the peers of the test have IPv6 addresses, an Allocate that says nothing of families asks for IPv6, unless
    /// it is to be sent `asIs`.
    func signed(
        _ method: STUNMethod,
        _ attributes: [RawAttribute],
        as login: Login,
        asIs: Bool = false
    ) -> RawMessage {
        var attributes = attributes
        let saysMore: Set<AttributeType> = [.requestedAddressFamily, .additionalAddressFamily, .reservationToken]
        if method == .allocate, !asIs, probe.target.peerFamily == .ipv6,
            !attributes.contains(where: { saysMore.contains($0.type) })
        {
            attributes.append(.family(2))
        }
        var message = RawMessage(method, .request, attributes)
        login.sign(&message)
        if method == .allocate { hasAllocation = true }
        return message
    }

    /// Asks without credentials, as every client does first, and reads the challenge; asks once only.
    @discardableResult
    func logIn(as account: ConformanceAccount? = nil) throws(Finding) -> Login {
        if let login, account == nil || login.account == account { return login }
        let found = try probe.setUp("no challenge") { () throws(Finding) in
            let reply = try exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            guard reply.errorCode == 401 else { throw .failed("401 was due, \(reply.name) came") }
            return try Login(account ?? probe.target.account, answering: reply)
        }
        login = found
        return found
    }

    // MARK: Silence

    /// Sends bytes to which no answer may come, then asks something that must be answered: so nothing was lost or late.
    func expectSilence(after message: RawMessage) throws(Finding) {
        try expectSilence(after: message.bytes, message.name)
    }

    func expectSilence(after bytes: [UInt8], _ name: String) throws(Finding) {
        wire.send(bytes)
        try fence()
        probe.noteSent(name)
        if let arrival = deliveries.first ?? wire.receive(until: MonotonicClock.now() + probe.target.quietTime) {
            let came = Delivery(arrival).name
            probe.noteCame(came)
            try probe.expect(false, "no answer was due, \(came) came")
        }
        try probe.expect(!wire.isClosed, "the server closed the connection")
    }

    /// Has the server answer a Binding request: what was sent before has been dealt with then.
    func fence() throws(Finding) { _ = try exchange(RawMessage(.binding)) }

    // MARK: Relayed data

    /// Sends a Send indication.
    func sendIndication(_ attributes: [RawAttribute]) {
        let message = RawMessage(.send, .indication, attributes)
        probe.noteSent(message.name)
        wire.send(message.bytes)
    }

    /// Sends bytes as they are.
    func sendRaw(_ bytes: [UInt8], _ name: String) {
        probe.noteSent(name)
        wire.send(bytes)
    }

    /// The next thing that the server relays to this client; `nil` if none comes in time.
    func delivery(within span: TimeSpan? = nil) -> Delivery? {
        let deadline = MonotonicClock.now() + (span ?? probe.target.answerTime)
        let arrival = deliveries.isEmpty ? wire.receive(until: deadline) : deliveries.removeFirst()
        let delivery = arrival.map { Delivery($0) }
        probe.noteCame(delivery?.name ?? "nothing")
        return delivery
    }

    // MARK: What rules presuppose

    /// An allocation; `attributes` come after REQUESTED-TRANSPORT.
    @discardableResult
    func allocate(_ attributes: [RawAttribute] = []) throws(Finding) -> Allocation {
        try probe.setUp("no allocation") { () throws(Finding) in
            let reply = try request(.allocate, [.requestedTransport()] + attributes)
            return try Allocation(reply)
        }
    }

    /// A permission for each of these peers.
    func permit(_ peers: Peer...) throws(Finding) {
        try probe.setUp("no permission for the peers") { () throws(Finding) in
            let reply = try request(.createPermission, peers.map { .peer($0.address) })
            let advice = reply.errorCode == 403 ? "; the server must allow the peer addresses of this test" : ""
            guard reply.messageClass == .success else { throw .failed("success was due, \(reply.name) came\(advice)") }
        }
    }

    /// A channel to a peer.
    func bind(_ channel: UInt16, to peer: Peer) throws(Finding) {
        try probe.setUp("no channel to the peer") { () throws(Finding) in
            let reply = try request(.channelBind, [.channel(channel), .peer(peer.address)])
            guard reply.messageClass == .success else { throw .failed("success was due, \(reply.name) came") }
        }
    }

    /// Gives the allocation back, as far as the server lets it.
    func close() {
        guard hasAllocation, let login, !wire.isClosed else { return }
        var message = RawMessage(.refresh, .request, [.lifetime(0)])
        login.sign(&message)
        wire.send(message.bytes)
        _ = answer(to: message.transactionID, until: MonotonicClock.now() + .milliseconds(300))
    }
}

/// What a success response to Allocate says.
struct Allocation {
    let reply: Reply
    let relayed: SocketAddress
    let lifetime: UInt32

    init(_ reply: Reply) throws(Finding) {
        guard reply.messageClass == .success else { throw .failed("success was due, \(reply.name) came") }
        guard let relayed = reply.relayedAddress, let lifetime = reply.lifetime else {
            throw .failed("XOR-RELAYED-ADDRESS and LIFETIME were due, \(reply.name) came")
        }
        (self.reply, self.relayed, self.lifetime) = (reply, relayed, lifetime)
    }
}
