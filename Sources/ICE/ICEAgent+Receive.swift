import Bytes
public import NetTypes
public import STUN

/// Input from the network.
extension ICEAgent {
    /// Takes what came over a base: a message of ICE or the application's data.
    ///
    /// On a relayed base, `source` is the peer behind the relay and `bytes` the payload; on a connection, `bytes` is one
    /// frame without its length. The scope of a link-local source is not looked at: the base is bound to its interface.
    public mutating func receive(
        _ bytes: Span<UInt8>,
        on base: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> ICEDisposition {
        journal?.input(bytes, on: base, from: source, at: now)
        let sender = SocketAddress(source.ip.unmapped, port: source.port)
        let disposition = take(bytes, on: base, from: sender, at: now)
        if case .refused(let reason) = disposition { statistics.count(reason) }
        return disposition
    }

    private mutating func take(
        _ bytes: Span<UInt8>,
        on base: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> ICEDisposition {
        guard state != .closed else { return .refused(.closed) }
        // RFC 7983 §7: the first byte of STUN is 0 to 3.
        guard !bytes.isEmpty, bytes[0] < 4 else { return takeData(on: base, from: source, at: now) }
        let view: STUNMessageView
        do throws(STUNError) { view = try STUNMessageView(bytes) } catch { return .refused(.malformed) }
        guard view.method == .binding else { return .refused(.unexpectedMethod) }
        switch view.messageClass {
        case .request: return takeRequest(view, on: base, from: source, at: now)
        case .success, .error: return takeResponse(view, on: base, from: source, at: now)
        case .indication: return view.checkFingerprint() == .invalid ? .refused(.badFingerprint) : .consumed
        }
    }

    /// Whether a request of this agent's has that identifier, and its answer would still be taken.
    public func isAwaiting(_ id: TransactionID) -> Bool { state != .closed && transactions.find(id) != nil }

    /// Data counts as the peer's if the peer has proven to own the address (ice 84).
    private mutating func takeData(on base: BaseID, from source: SocketAddress, at now: Instant) -> ICEDisposition {
        guard let index = findPair(base, source), !pairs[index].flags.isDisjoint(with: [.valid, .heardRequest]) else {
            return .refused(.unvalidatedData)
        }
        statistics.dataReceived &+= 1
        let component = Int(pairs[index].component) - 1
        components[component].lastHeard = now
        components[component].isListening = true
        if quietAt == .distantFuture, canProbe { quietAt = now + Self.quietSpan }
        return .data(component: pairs[index].component)
    }
}
