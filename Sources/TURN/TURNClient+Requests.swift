import Bytes
import NetTypes
import STUN

/// Requests and their responses, whatever they are for (RFC 8489 §6, §9.2).
extension TURNClient {
    /// The longest request: a message that a server with the longest realm and nonce could ask for still fits.
    private static var requestRoom: Int { 4096 }

    /// Sends a request, or keeps its purpose until there is room.
    mutating func submit(_ purpose: Purpose, at now: Instant) {
        guard transactions.hasRoom, isTimely(purpose) else { return waiting.append(purpose) }
        send(purpose, after: nil, at: now)
    }

    /// Sends what has waited, as far as there is room.
    mutating func pump(at now: Instant) {
        guard !waiting.isEmpty else { return }
        var later: [Purpose] = []
        for purpose in waiting {
            if transactions.hasRoom, isTimely(purpose) {
                send(purpose, after: nil, at: now)
            } else {
                later.append(purpose)
            }
        }
        waiting = later
    }

    /// Whether the purpose makes sense in the present phase; before the allocation, peers wait for it.
    private func isTimely(_ purpose: Purpose) -> Bool {
        switch (phase, purpose) {
        case (.allocating, .allocate), (.deleting, .delete): true
        case (.allocated, .move): isMoving
        case (.allocated, .refresh), (.allocated, .permit), (.allocated, .bind), (.allocated, .connect): !isMoving
        default: false
        }
    }

    private mutating func send(_ purpose: Purpose, after previous: LongTermAttempt?, at now: Instant) {
        let attempt = session.attempt(for: method(of: purpose), after: previous)
        let id = TransactionID.random(using: &entropy)
        guard let bytes = encode(purpose, id, attempt) else {
            return fail(purpose, .transaction(.malformedResponse), at: now)
        }
        guard transactions.begin(id, method(of: purpose), bytes, Exchange(purpose: purpose, attempt: attempt), at: now)
        else { return waiting.append(purpose) }
        transmit(bytes)
        // Departure: RFC 8656 §11.1 wants the permission first. The first data follow its request at once, which saves a
        // round trip; the server handles them in this order, and drops the data if it refuses the permission.
        for ip in addresses(of: purpose) {
            for message in peers.heldMessages(for: ip) { transmit(message) }
        }
    }

    private func method(of purpose: Purpose) -> STUNMethod {
        switch purpose {
        case .allocate: .allocate
        case .refresh, .move, .delete: .refresh
        case .permit: .createPermission
        case .bind: .channelBind
        case .connect: .connect
        }
    }

    func addresses(of purpose: Purpose) -> [IPAddress] {
        switch purpose {
        case .allocate, .refresh, .move, .delete, .connect: []
        case .permit(let addresses): addresses
        case .bind(let peer, _): [peer.ip]
        }
    }

    /// Writes a request; `nil` if it does not fit, which only a server with absurd realm and nonce can bring about.
    private func encode(_ purpose: Purpose, _ id: TransactionID, _ attempt: LongTermAttempt) -> [UInt8]? {
        var isWhole = true
        let bytes = buildBytes(capacity: Self.requestRoom) { output in
            var builder = STUNMessageBuilder(method(of: purpose), .request, id, into: &output)
            append(purpose, to: &builder, into: &output)
            session.append(attempt, to: &builder, into: &output)
            isWhole =
                (try? builder.finish(
                    protectedBy: attempt.protection,
                    fingerprint: configuration.fingerprint,
                    into: &output
                )) != nil
        }
        return isWhole ? bytes : nil
    }

    private func append(
        _ purpose: Purpose,
        to builder: inout STUNMessageBuilder,
        into output: inout OutputSpan<UInt8>
    ) {
        switch purpose {
        case .allocate: appendAllocate(to: &builder, into: &output)
        case .refresh, .move:
            if let lifetime = configuration.lifetimeSeconds { builder.append(.lifetime, lifetime, into: &output) }
            if isMoving, let ticket { builder.append(.mobilityTicket, ticket.span, into: &output) }
        case .delete:
            builder.append(.lifetime, 0 as UInt32, into: &output)
            if isMoving, let ticket { builder.append(.mobilityTicket, ticket.span, into: &output) }
        case .permit(let addresses):
            for ip in addresses {
                // The port is ignored by the server (RFC 8656 §9); some want it to be one all the same.
                builder.append(.xorPeerAddress, xored: SocketAddress(ip, port: 9), into: &output)
            }
        case .bind(let peer, let number):
            builder.append(number, into: &output)
            builder.append(.xorPeerAddress, xored: peer, into: &output)
        case .connect(let peer): builder.append(.xorPeerAddress, xored: peer, into: &output)
        }
    }

    // MARK: Responses

    mutating func receiveSTUN(_ bytes: Span<UInt8>, at now: Instant) -> TURNClientDisposition {
        guard let message = try? STUNMessageView(bytes) else { return ignore(.malformedSTUN) }
        guard message.checkFingerprint() != .invalid else { return ignore(.badFingerprint) }
        switch message.messageClass {
        case .success, .error: return receiveResponse(message, at: now)
        case .indication:
            switch message.method {
            case .data: return receiveDataIndication(message, at: now)
            case .connectionAttempt: return receiveConnectionAttempt(message, at: now)
            default: return ignore(.unexpectedClass)
            }
        case .request: return ignore(.unexpectedClass)
        }
    }

    private mutating func receiveResponse(
        _ response: borrowing STUNMessageView,
        at now: Instant
    ) -> TURNClientDisposition {
        guard let transaction = transactions.find(response) else { return ignore(.unknownTransaction) }
        let exchange = transaction.context
        let purpose = exchange.purpose
        switch session.judge(response, to: exchange.attempt, isReliable: configuration.transport.isStream) {
        case .ignored(.integrityViolated):
            transactions.noteViolation(transaction.id)
            return ignore(.integrityViolated)
        case .ignored(.unprotectedBadRequest): return ignore(.unprotectedBadRequest)
        case .ignored(.biddenDown): return ignore(.biddenDown)
        case .failed(let failure):
            transactions.finish(transaction.id, at: now)
            fail(purpose, .transaction(failure), at: now)
        case .retry:
            transactions.finish(transaction.id, at: now)
            send(purpose, after: exchange.attempt, at: now)
        case .accepted:
            transactions.finish(transaction.id, at: now)
            if let failure = failure(in: response, exchange) {
                fail(purpose, failure, response, at: now)
            } else {
                succeed(purpose, response, started: transaction.timer.started, at: now)
            }
        }
        pump(at: now)
        return .accepted
    }

    /// What stands against taking the response as a success (turn 30, 31, 81).
    private func failure(in response: borrowing STUNMessageView, _ exchange: Exchange) -> TURNClientFailure? {
        guard response.unknownRequiredAttributes(known: .turnConnections).isEmpty else {
            return .transaction(.unknownRequiredAttributes)
        }
        guard response.messageClass == .error else { return nil }
        guard let code = (try? response.errorCode()) ?? nil else { return .transaction(.malformedResponse) }
        guard code == .tryAlternate else { return .refused(code) }
        guard case .none = exchange.attempt.protection else { return redirection(response) }
        return .unprotectedRedirect
    }

    /// The server to go to: of our family if there is one, as RFC 8489 §10 has it first (turn 82).
    private func redirection(_ response: borrowing STUNMessageView) -> TURNClientFailure {
        var targets: [SocketAddress] = []
        var iterator = response.attributes
        while let attribute = iterator.next() {
            guard attribute.type == .alternateServer, let target = SocketAddress(plainAddress: attribute.value),
                target.port != 0, !target.ip.isUnspecified
            else { continue }
            targets.append(target)
        }
        let family = configuration.server.unmapped.family
        guard let target = targets.first(where: { $0.family == family }) ?? targets.first else {
            return .transaction(.malformedResponse)
        }
        // Only who was authenticated by SHA-256 gets a domain (RFC 8489 §10); a longer one is none (turn 50).
        let domain = response.string(.alternateDomain).flatMap { (1...255).contains($0.utf8.count) ? $0 : nil }
        return .redirected(to: target, domain: configuration.transport.isSecure ? domain : nil)
    }

    private mutating func succeed(
        _ purpose: Purpose,
        _ response: borrowing STUNMessageView,
        started: Instant,
        at now: Instant
    ) {
        switch purpose {
        case .allocate: allocated(response, since: started, at: now)
        case .refresh: refreshed(response, since: started, at: now)
        case .move: moved(response, since: started, at: now)
        case .delete: finishDeletion()
        case .permit(let addresses): permitted(addresses, since: started)
        case .bind(let peer, let number): bound(peer, number, since: started)
        case .connect(let peer): connected(peer, response, at: now)
        }
    }

    /// Handles a refusal, or the end of a transaction without response.
    mutating func fail(_ purpose: Purpose, _ failure: TURNClientFailure, at now: Instant) {
        switch (purpose, phase) {
        case (.allocate, _): allocateFailed(failure, at: now)
        case (.delete, _): finishDeletion()
        // What was asked before the end of the allocation has no meaning any more.
        case (_, .idle), (_, .allocating), (_, .deleting), (_, .ended): break
        case (.move, .allocated): moveFailed(failure, at: now)
        case (_, .allocated) where failure == .refused(.allocationMismatch): missing(purpose, at: now)
        case (.refresh, .allocated): refreshFailed(failure, at: now)
        case (.permit(let addresses), .allocated): permissionFailed(addresses, failure, at: now)
        case (.connect(let peer), .allocated): connectFailed(peer, failure, at: now)
        case (.bind(let peer, let number), .allocated): channelFailed(peer, number, failure, at: now)
        }
    }

    private mutating func fail(
        _ purpose: Purpose,
        _ failure: TURNClientFailure,
        _ response: borrowing STUNMessageView,
        at now: Instant
    ) {
        // The server does without DONT-FRAGMENT: so do we (RFC 8656 §7.4).
        if case .allocate = purpose, failure == .refused(.unknownAttribute), asksDontFragment,
            ((try? response.unknownAttributes()) ?? nil)?.contains(.dontFragment) == true
        {
            asksDontFragment = false
            return submit(.allocate, at: now)
        }
        // So many servers forbid what few clients need: an allocation that stays where it is beats none.
        if case .allocate = purpose, failure == .refused(.mobilityForbidden), asksMobility {
            asksMobility = false
            return submit(.allocate, at: now)
        }
        fail(purpose, failure, at: now)
    }
}

extension SocketAddress {
    /// Reads an attribute that is an address as it is (RFC 8489 §14.1); `nil` if it cannot be read.
    fileprivate init?(plainAddress value: Span<UInt8>) {
        guard value.count >= 8, let family = AddressFamily(attributeNumber: value[1]),
            let ip = IPAddress(bytes: value.extracting(droppingFirst: 4)), ip.family == family
        else { return nil }
        self.init(ip, port: value.bigEndianUInt16(at: 2))
    }
}
