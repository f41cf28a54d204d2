import Bytes
import NetTypes
import STUN
import TURN

/// What a request needs from start to end, without the message itself.
struct RequestContext {
    let client: ClientTuple
    let account: Account
    let responder: Responder
    let now: Instant
}

extension TURNServerEngine {
    mutating func receiveSTUN(_ bytes: Span<UInt8>, from client: ClientTuple, at now: Instant) -> ClientDisposition {
        do {
            let message = try STUNMessageView(bytes)
            guard message.checkFingerprint() != .invalid else { return ignore(.badFingerprint) }
            switch message.messageClass {
            case .request: return receiveRequest(message, from: client, at: now)
            case .indication: return receiveIndication(message, from: client, at: now)
            case .success, .error: return ignore(.unexpectedClass)
            }
        } catch {
            return receiveRFC3489(bytes, from: client, at: now)
        }
    }

    private mutating func receiveRequest(
        _ request: borrowing STUNMessageView,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        let method = request.method
        counters.countRequest(method)
        let responder = Responder(
            client: client,
            method: method,
            transactionID: request.transactionID,
            fingerprint: request.contains(.fingerprint),
            requestByteCount: request.bytes.count
        )
        switch method {
        case .binding: return receiveBinding(request, responder, at: now)
        case .allocate, .refresh, .createPermission, .channelBind: break
        case .connect where configuration.relaysTCP: break
        case .connectionBind where configuration.relaysTCP:
            if let shard = otherShard(for: request, from: client) { return .handOver(shard: shard) }
        default: return ignore(.unsupportedMethod)
        }
        let handle = allocation(of: client)
        if handle == nil, let shard = otherShard(forMoved: request, from: client) { return .handOver(shard: shard) }
        let holder = (handle ?? allocationOfConnection(in: request) ?? allocationOfTicket(in: request)).flatMap {
            allocations.read($0) { $0.account }
        }
        let isRepeated = handle.flatMap { allocations.read($0) { $0.transactionID } } == request.transactionID
        switch authenticate(request, from: client, holder: holder, isRepeated: isRepeated) {
        case .challenge(let code, let refusal):
            guard unauthenticated.take(client.remote.ip, at: now) else { return ignore(.unauthenticatedRateLimit) }
            if let refusal { log(.authenticationFailed(client: client, refusal)) }
            challenge(responder, code)
        case .unexpectedToken:
            guard unauthenticated.take(client.remote.ip, at: now) else { return ignore(.unauthenticatedRateLimit) }
            fail(responder, .unknownAttribute, unknown: AttributeTypeList([.accessToken]))
        case .malformed:
            guard unauthenticated.take(client.remote.ip, at: now) else { return ignore(.unauthenticatedRateLimit) }
            fail(responder, .badRequest, Self.credentialFault(in: request))
        case .authenticated(let account, let protection):
            var responder = responder
            responder.protection = protection
            return perform(
                request,
                RequestContext(client: client, account: account, responder: responder, now: now)
            )
        }
        return .accepted
    }

    /// Which part of the credentials is not there, or not as it was offered.
    private static func credentialFault(in request: borrowing STUNMessageView) -> String {
        if !request.contains(.username), !request.contains(.userhash) { return "USERNAME is missing" }
        if !request.contains(.realm) { return "REALM is missing" }
        if !request.contains(.nonce) { return "NONCE is missing" }
        return "bad USERNAME or PASSWORD-ALGORITHM(S)"
    }

    /// Carries out a request whose sender is known.
    private mutating func perform(
        _ request: borrowing STUNMessageView,
        _ context: RequestContext
    ) -> ClientDisposition {
        let known = credentials.thirdParty == nil ? known : known.union([.accessToken])
        let unknown = request.unknownRequiredAttributes(known: known)
        guard unknown.isEmpty else {
            fail(context.responder, .unknownAttribute, unknown: unknown)
            return .accepted
        }
        guard request.method != .allocate else { return allocate(request, context) }
        guard request.method != .connectionBind else {
            bindConnection(request, context)
            return .accepted
        }
        guard request.method != .refresh || !request.contains(.mobilityTicket) else {
            resume(request, context)
            return .accepted
        }
        guard let handle = allocation(of: context.client),
            let (holder, isPending) = allocations.read(handle, { ($0.account, $0.relays.isOpening) }), !isPending
        else {
            mismatch(request, context)
            return .accepted
        }
        guard holder.admits(context.account) else {
            fail(context.responder, .wrongCredentials)
            return .accepted
        }
        switch request.method {
        case .refresh: refresh(request, handle, context)
        case .createPermission: createPermissions(request, handle, context)
        case .connect: connect(request, handle, context)
        default: bindChannel(request, handle, context)
        }
        return .accepted
    }

    /// Answers a request for which there is no allocation: 437, but a repeated delete has succeeded.
    mutating func mismatch(_ request: borrowing STUNMessageView, _ context: RequestContext) {
        guard request.method == .refresh,
            deletes.contains(request.transactionID, from: context.client, at: context.now)
        else { return fail(context.responder, .allocationMismatch) }
        succeed(context.responder) { $0.append(.lifetime, 0 as UInt32, into: &$1) }
    }

    private mutating func receiveBinding(
        _ request: borrowing STUNMessageView,
        _ responder: Responder,
        at now: Instant
    ) -> ClientDisposition {
        guard bindings.take(responder.client.remote.ip, at: now) else { return ignore(.bindingRateLimit) }
        let discovery = discovery(for: responder.client)
        let known = discovery == nil ? known : known.union(Self.discoveryAttributes)
        let unknown = request.unknownRequiredAttributes(known: known)
        guard unknown.isEmpty else {
            fail(responder, .unknownAttribute, unknown: unknown)
            return .accepted
        }
        if let (addresses, corner) = discovery { return discover(request, responder, addresses, corner, at: now) }
        succeed(responder) { $0.append(.xorMappedAddress, xored: responder.client.remote, into: &$1) }
        return .accepted
    }

    private mutating func receiveIndication(
        _ message: borrowing STUNMessageView,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        switch message.method {
        case .send: return receiveSend(message, from: client, at: now)
        // A keep-alive of the client's NAT binding; nothing to do (turn 37).
        case .binding: return .accepted
        case .data, .allocate, .refresh, .createPermission, .channelBind, .connect, .connectionBind,
            .connectionAttempt:
            return ignore(.unexpectedClass)
        default: return ignore(.unsupportedMethod)
        }
    }

    /// Relays the payload of a Send indication (RFC 8656 §11.2).
    private mutating func receiveSend(
        _ message: borrowing STUNMessageView,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        guard let handle = clients[client] else {
            switch claim(strayOf: client, at: now) {
            case .moved: return receiveSend(message, from: client, at: now)
            case .otherShard(let shard): return .handOver(shard: shard)
            case .stranger: return ignore(.noAllocation)
            }
        }
        guard message.unknownRequiredAttributes(known: known).isEmpty, let payload = message.dataRange() else {
            return ignore(.malformedIndication)
        }
        let peer: SocketAddress
        do {
            guard let address = try message.xorPeerAddress() else { return ignore(.malformedIndication) }
            peer = gate.presented(address)
        } catch {
            return ignore(.malformedIndication)
        }
        guard peer.port != 0 else { return ignore(.malformedIndication) }
        guard let permission = peers.permission(handle.index, peer.ip, at: now) else { return ignore(.noPermission) }
        if permission.isOwnRelay, !shared.isLiveRelay(peer) { return ignore(.deadRelay) }
        return relay(
            payload,
            of: handle,
            to: gate.reachable(peer),
            dontFragment: message.dontFragment,
            at: now
        )
    }
}
