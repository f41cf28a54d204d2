import Bytes
public import NetTypes

/// What a connection tells its owner.
public enum HTTPServerEvent: Sendable, Equatable {
    /// A request is complete; `respond` must follow, now or later.
    case request(HTTPRequest)
    /// A request was refused, or the connection given up. Count it; the client was told already where that is possible.
    case dropped(HTTPDropReason)
}

/// The server's side of one HTTP/1.1 connection (RFC 9112): bytes and time in, requests out, one request at a time.
///
///     waitingForHead -> readingBody -> waitingForResponse -> sendingResponse -> waitingForHead, or closing
///                                                         -> upgraded (after 101)
///
/// After each call drain `pollTransmit` and `pollEvent`, in any order until both have nothing, then sleep until
/// `nextTimeout`. Close the transport when `isFinished`: end the sending side first and go on reading for a moment,
/// because a reset would throw away a response that the client has not read.
public struct HTTPServerConnection: ~Copyable, Sendable {
    enum State {
        case waitingForHead
        case readingBody(HTTPRequest, BodyDecoder)
        case waitingForResponse
        case sendingResponse
        case upgraded
        case closing
    }

    private enum Timer {
        case idle
        case head
        case body
        case response
    }

    private let limits: HTTPLimits
    private let wallClock: WallClock
    private var state = State.waitingForHead
    private var parser: RequestHeadParser
    private var input = LineBuffer()
    private var output = ResponseOutput()
    // At most one request, one refusal and one note about late bytes can wait.
    private var events = RingBuffer<HTTPServerEvent>(limit: 4)
    private var timer: (kind: Timer, deadline: Instant)?
    private var requestsLeft: Int
    // Of the request that is being answered.
    private var keepsAlive = false
    private var isHead = false
    private var minorVersion = 1
    private var peerHasEnded = false
    private var wasCut = false
    private var ignoredLateBytes = false

    /// Makes the state of a connection that was accepted at `now`; `wallClock` gives responses their Date.
    public init(limits: HTTPLimits = HTTPLimits(), wallClock: WallClock, at now: Instant) {
        self.limits = limits
        self.wallClock = wallClock
        parser = RequestHeadParser(limits: limits)
        requestsLeft = limits.requests
        timer = (.idle, now + limits.headTime)
    }

    /// Takes bytes from the transport.
    ///
    /// New events and bytes to transmit may follow. Pass at most `HTTPLimits.pipelinedBytes` / 2 in one call, and only
    /// while `wantsInput`; then a client that pipelines is held back, never cut off.
    public mutating func receive(_ bytes: Span<UInt8>, at now: Instant) {
        guard !bytes.isEmpty else { return }
        if case .closing = state {
            // The rest of a refused request is read and thrown away until the owner closes.
            if !ignoredLateBytes { _ = events.append(.dropped(.afterClose)) }
            ignoredLateBytes = true
            return
        }
        input.append(bytes)
        advance(at: now)
        switch state {
        case .waitingForHead, .readingBody, .closing: break
        case .waitingForResponse, .sendingResponse, .upgraded:
            if input.count > limits.pipelinedBytes { cut(.pipelineOverflow) }
        }
    }

    /// Takes the end of the peer's side (a FIN).
    ///
    /// The requests that have arrived whole are still answered, then the connection is finished.
    public mutating func receiveEnd(at now: Instant) {
        guard !peerHasEnded else { return }
        peerHasEnded = true
        endAfterLastRequest()
    }

    /// Ends the connection as soon as nobody is served: at once, or with the response to the request that is under way.
    public mutating func shutDown() {
        requestsLeft = 0
        keepsAlive = false
        if isBetweenRequests { cut(nil) }
    }

    /// Does what is due: gives up what took too long.
    public mutating func handleTimeout(at now: Instant) {
        guard let due = timer, due.deadline <= now else { return }
        switch due.kind {
        // Browsers open connections in advance: one that carries no request ends without a word.
        case .idle: cut(nil)
        case .head: refuse(.headTimeout, at: now)
        case .body: refuse(.bodyTimeout, at: now)
        case .response: cut(.responseTimeout)
        }
    }

    /// Answers the request that came with the last event; returns `false` if it can no longer be answered.
    ///
    /// With status 101 the connection is `isUpgraded`: transmit what is left, then carry on in the other protocol.
    @discardableResult
    public mutating func respond(_ response: HTTPResponse, at now: Instant) -> Bool {
        guard case .waitingForResponse = state else { return false }
        if response.status == .switchingProtocols {
            state = .upgraded
        } else {
            state = .sendingResponse
            if response.closesConnection || requestsLeft == 0 { keepsAlive = false }
            if peerHasEnded && input.isEmpty { keepsAlive = false }
        }
        send(response, at: now)
        return true
    }

    /// Writes bytes for the transport and returns how many; 0 if there are none or `bytes` is full.
    ///
    /// When the last byte of a response is taken, the next request in line is read: poll for events again.
    public mutating func pollTransmit(at now: Instant, into bytes: inout OutputSpan<UInt8>) -> Int {
        guard !output.isEmpty else { return 0 }
        let count = output.drain(into: &bytes)
        guard output.isEmpty else { return count }
        switch state {
        case .sendingResponse: startNextRequest(at: now)
        case .upgraded, .closing: timer = nil
        case .waitingForHead, .readingBody, .waitingForResponse: break
        }
        return count
    }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> HTTPServerEvent? { events.popFirst() }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    ///
    /// There is none while the owner works on a request: how long that may take is the owner's to say.
    public var nextTimeout: Instant? { timer?.deadline }

    /// Whether bytes wait for `pollTransmit`.
    public var hasOutput: Bool { !output.isEmpty }

    /// Whether the owner should go on reading from the transport; while `false`, let the kernel hold the client back.
    public var wantsInput: Bool {
        switch state {
        case .waitingForHead, .readingBody, .upgraded: true
        case .waitingForResponse, .sendingResponse: input.count < limits.pipelinedBytes / 2
        case .closing: !peerHasEnded
        }
    }

    /// Whether nothing more will be sent or understood: the transport can be closed.
    public var isFinished: Bool {
        if case .closing = state { return wasCut || output.isEmpty }
        return false
    }

    /// Whether a 101 was answered and the connection belongs to the protocol that was switched to.
    public var isUpgraded: Bool {
        if case .upgraded = state { return true }
        return false
    }

    /// Takes the bytes that came behind the request to upgrade: the beginning of the other protocol's stream.
    public mutating func takeUpgradedBytes() -> [UInt8] { isUpgraded ? input.takeAll() : [] }
}

extension HTTPServerConnection {
    /// Reads on until something is missing or a request waits for its response.
    private mutating func advance(at now: Instant) {
        do throws(HTTPDropReason) {
            while true {
                switch state {
                case .waitingForHead:
                    guard let (request, framing) = try parser.parse(&input) else {
                        if timer?.kind == .idle { timer = (.head, now + limits.headTime) }
                        return
                    }
                    startBody(of: request, framing, at: now)
                case .readingBody(var request, var decoder):
                    // Moved out of the enum and back, so that the content has one owner and grows in place.
                    state = .waitingForHead
                    guard try decoder.decode(&input) else {
                        state = .readingBody(request, decoder)
                        return
                    }
                    request.body = decoder.content
                    finishRequest(request)
                case .waitingForResponse, .sendingResponse, .upgraded, .closing: return
                }
            }
        } catch {
            refuse(error, at: now)
        }
    }

    private mutating func startBody(of request: HTTPRequest, _ framing: RequestHeadParser.Framing, at now: Instant) {
        parser = RequestHeadParser(limits: limits)
        state = .readingBody(request, BodyDecoder(framing, limits: limits))
        timer = (.body, now + limits.bodyTime)
        let expectsContinue = request.minorVersion == 1 && request.headers["Expect"] != nil
        // RFC 9110 §10.1.1: no 100 where the content is already on its way, or there is none.
        if expectsContinue && framing != .length(0) && input.isEmpty { output.start("HTTP/1.1 100 Continue\r\n\r\n") }
    }

    private mutating func finishRequest(_ request: HTTPRequest) {
        state = .waitingForResponse
        timer = nil
        requestsLeft = max(0, requestsLeft - 1)
        keepsAlive = request.keepsAlive
        isHead = request.method == .head
        minorVersion = request.minorVersion
        _ = events.append(.request(request))
    }

    private mutating func startNextRequest(at now: Instant) {
        guard keepsAlive else {
            state = .closing
            timer = nil
            return
        }
        state = .waitingForHead
        timer = (.idle, now + limits.idleTime)
        if !input.isEmpty { advance(at: now) }
        if peerHasEnded { endAfterLastRequest() }
    }

    private var isBetweenRequests: Bool {
        if case .waitingForHead = state { return parser.isEmpty && input.isEmpty }
        return false
    }

    private mutating func endAfterLastRequest() {
        switch state {
        case .waitingForHead, .readingBody: cut(isBetweenRequests ? nil : .truncatedRequest)
        case .waitingForResponse, .sendingResponse, .upgraded, .closing: break
        }
    }

    private mutating func send(_ response: HTTPResponse, at now: Instant) {
        let unixSeconds = wallClock.unixSeconds(at: now)
        output.start(
            response,
            unixSeconds: unixSeconds,
            keepsAlive: keepsAlive,
            isHead: isHead,
            clientMinorVersion: minorVersion
        )
        let extra = TimeSpan.seconds(UInt64(output.count / max(1, limits.responseBytesPerSecond)))
        timer = (.response, now + limits.responseTime + extra)
    }

    /// Tells the client what is wrong, and closes: after a malformed request nobody knows where the next one begins.
    private mutating func refuse(_ reason: HTTPDropReason, at now: Instant) {
        guard let status = reason.status else { return cut(reason) }
        _ = events.append(.dropped(reason))
        input = LineBuffer()
        state = .closing
        keepsAlive = false
        isHead = false
        send(HTTPResponse(status, text: reason.explanation + "\n"), at: now)
    }

    /// Gives the connection up without another word.
    private mutating func cut(_ reason: HTTPDropReason?) {
        if let reason { _ = events.append(.dropped(reason)) }
        input = LineBuffer()
        output = ResponseOutput()
        timer = nil
        state = .closing
        wasCut = true
    }
}
