import Bytes
public import Connectivity
public import ICE
import MDNS
public import NetTypes
import PortMapping
package import STUN
public import Simulation

/// An ICE session on a simulated host, with all the duties of its driver: sockets, connections, names, mappings.
///
/// It signals nothing: whoever runs it hands over descriptions and candidates by `act`, as tests do; `SimulatedPeer` does so
/// over a signaling channel.
public class SimulatedSession: SimulatedProgram {
    enum Endpoint {
        case datagrams(SocketID)
        case listener(SocketID)
        case stream(StreamID)
    }

    /// What the session has told, with the world's time.
    public internal(set) var timeline: [(time: Instant, event: SessionEvent)] = []
    /// What came from the other side.
    public internal(set) var received: [(time: Instant, bytes: [UInt8])] = []
    /// Through which HTTP proxy TCP and TLS connections are made.
    public internal(set) var proxy: SocketAddress?
    /// Whether `effects` and `sent` are kept.
    package var keepsLog = false
    /// All effects that the session wanted.
    package private(set) var effects: [SessionEffect] = []
    /// All messages that the session wrote by itself.
    package private(set) var sent: [(time: Instant, transmit: SessionTransmit)] = []
    /// Effects that this driver never answers.
    package var ignores: (SessionEffect) -> Bool = { _ in false }
    /// Where events go besides the timeline, such as to the peer.
    package var forward: (SessionEvent) -> Void = { _ in }

    /// The session, once there is one.
    package var session: ICESession?
    var pacer = CheckPacer()
    var endpoints: [UInt32: Endpoint] = [:]
    var baseOfSocket: [SocketID: BaseID] = [:]
    var baseOfStream: [StreamID: BaseID] = [:]
    var connecting: [StreamID: PendingConnection] = [:]
    var wrappers: [StreamID: SimulatedTLS] = [:]
    var lookups: [EffectID: PendingLookup] = [:]
    var questions: [UInt64: EffectID] = [:]
    var lastBase: UInt32 = 0
    var names: NameDriver?
    var mappers: [UInt32: MapperDriver] = [:]
    private var context: HostContext?

    struct PendingConnection {
        let id: EffectID
        let kind: StreamKind
        let target: SocketAddress
        var tunnel: [UInt8]?
    }

    struct PendingLookup {
        var waiting = 2
        var addresses: [IPAddress] = []
    }

    init() {}

    /// Makes a program that begins to gather when it is started, and signals nothing.
    ///
    /// - Throws: `CredentialError` if a TURN server's user name or password cannot be used.
    package init(_ configuration: ICESessionConfiguration, seed: UInt64) throws(CredentialError) {
        session = try ICESession(configuration, entropy: .seeded(seed), at: .zero)
        keepsLog = true
    }

    /// The session's state; `.new` before it begins.
    public var state: ICEConnectionState {
        // Reading through an optional of a type that cannot be copied needs a borrow.
        if session == nil { return .new }
        return session?.state ?? .new
    }

    /// Why there is no path, or what stands in the way of a better one.
    public var verdict: Verdict? { session?.verdict }

    /// The pairs of the session.
    public var pairs: [ICEPairSnapshot] { session?.pairs ?? [] }

    /// Where data goes now.
    public private(set) var path: ICEPath?

    /// When the session, or a service beside it, is to be called.
    public var nextTimeout: Instant? {
        var next = session?.nextTimeout ?? .distantFuture
        if let due = names?.nextTimeout { next = min(next, due) }
        for mapper in mappers.values { next = min(next, mapper.nextTimeout ?? .distantFuture) }
        return next == .distantFuture ? nil : next
    }

    // MARK: Events

    /// Drives the session.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        context = host
        switch event {
        case .started:
            session?.updateInterfaces(interfaces(host), at: host.now)
            session?.gather(at: host.now)
        case .timeout: handleTimeout(host)
        case .interfacesChanged: session?.updateInterfaces(interfaces(host), at: host.now)
        case .signal, .woke: break
        case .datagram, .unreachable, .connected, .accepted, .bytes, .ended, .resolved: handleNetwork(event, host)
        }
        drain(host)
    }

    func handleTimeout(_ host: HostContext) {
        session?.handleTimeout(at: host.now)
        names?.handleTimeout(host)
        for key in mappers.keys.sorted() { mappers[key]?.handleTimeout(host) }
    }

    func note(_ event: SessionEvent, _ host: HostContext) {
        timeline.append((host.worldTime, event))
        host.note(Self.text(event))
        if case .pathChanged(_, let new) = event { path = new }
        forward(event)
    }

    /// Does something with the session from outside, once it was started.
    package func act(_ body: (inout ICESession, Instant) -> Void) {
        context?.host.perform(self) { program, host in
            program.change(body, host)
            program.drain(host)
        }
    }

    /// Sends data to the other side from outside.
    package func send(_ payload: [UInt8]) {
        context?.host.perform(self) { program, host in
            program.send(payload, host)
            program.drain(host)
        }
    }

    private func change(_ body: (inout ICESession, Instant) -> Void, _ host: HostContext) {
        guard var taken = session.take() else { return }
        body(&taken, host.now)
        session = consume taken
    }

    // MARK: Data

    /// Sends data to the other side; what has no path is lost.
    public func send(_ payload: [UInt8], _ host: HostContext) {
        var result = SessionSend.noPath
        let bytes = buildBytes(capacity: payload.count + 128) { output in
            result = session?.send(payload.span, at: host.now, into: &output) ?? .noPath
        }
        switch result {
        case .direct(let base, let destination): transmit(payload, base, destination, nil, host)
        case .written(let order): transmit(bytes, order.base, order.destination, order.hopLimit, host)
        case .held, .noPath, .tooLong: break
        }
    }

    /// Does what the session wants until it wants nothing more.
    func drain(_ host: HostContext) {
        var isBusy = true
        while isBusy {
            isBusy = false
            while let effect = session?.pollEffect() {
                isBusy = true
                if keepsLog { effects.append(effect) }
                if !ignores(effect) { perform(effect, host) }
            }
            while true {
                var order: SessionTransmit?
                let bytes = buildBytes(capacity: ICESession.maximumMessageByteCount) { output in
                    order = session?.pollTransmit(at: host.now, pacer: &pacer, into: &output)
                }
                guard let order else { break }
                isBusy = true
                if keepsLog { sent.append((host.worldTime, order)) }
                transmit(Array(bytes[...]), order.base, order.destination, order.hopLimit, host)
            }
            while true {
                var component: UInt16?
                let bytes = buildBytes(capacity: ICESession.maximumMessageByteCount) { output in
                    component = session?.pollData(into: &output)
                }
                guard component != nil else { break }
                received.append((host.worldTime, Array(bytes[...])))
            }
            while let event = session?.pollEvent() {
                isBusy = true
                note(event, host)
            }
        }
        names?.drain(host, into: &session)
        for key in mappers.keys.sorted() { mappers[key]?.drain(host, into: &session) }
    }
}
