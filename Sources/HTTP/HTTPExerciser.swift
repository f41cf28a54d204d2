import NetTypes

/// Runs arbitrary bytes through the engines of this module as a driver would; for fuzzers and for tests.
package enum HTTPExerciser {
    /// What a run saw.
    package struct Outcome: Equatable {
        /// The events in order.
        package var events: [HTTPServerEvent] = []
        /// What the server sent.
        package var output: [UInt8] = []
        /// Whether the server was done with the connection.
        package var isFinished = false
        /// What came behind a request to upgrade.
        package var upgradedBytes: [UInt8] = []
    }

    /// Feeds `stream` to a server in pieces whose lengths `cuts` gives, and answers each request at once.
    ///
    /// A request that asks for an upgrade gets it. `cuts` is asked for each piece; what is left over goes in whole.
    package static func serve(
        _ stream: [UInt8],
        limits: HTTPLimits = HTTPLimits(),
        cuts: () -> Int
    ) -> Outcome {
        let start = Instant.zero + .seconds(1)
        var outcome = Outcome()
        var connection = HTTPServerConnection(
            limits: limits,
            wallClock: WallClock(unixSeconds: 784_111_777, at: start),
            at: start
        )
        var offset = 0
        while offset < stream.count && !connection.isFinished {
            let end = min(stream.count, offset + max(1, cuts()))
            connection.receive(stream.span.extracting(offset..<end), at: start)
            offset = end
            drain(&connection, &outcome, at: start)
        }
        connection.receiveEnd(at: start)
        drain(&connection, &outcome, at: start)
        outcome.isFinished = connection.isFinished
        outcome.upgradedBytes = connection.takeUpgradedBytes()
        return outcome
    }

    private static func drain(_ connection: inout HTTPServerConnection, _ outcome: inout Outcome, at now: Instant) {
        var isIdle = false
        while !isIdle {
            isIdle = true
            while let event = connection.pollEvent() {
                isIdle = false
                outcome.events.append(event)
                guard case .request(let request) = event else { continue }
                connection.respond(answer(request), at: now)
            }
            var count = 0
            let bytes = [UInt8](capacity: 512) { count = connection.pollTransmit(at: now, into: &$0) }
            outcome.output += bytes
            if count > 0 { isIdle = false }
        }
    }

    private static func answer(_ request: HTTPRequest) -> HTTPResponse {
        // Everything an owner may look at is looked at, so that a fuzzer reaches it.
        let items = request.target.queryItems.count + (request.target.pathSegments?.count ?? 0)
        if let authority = request.authority { _ = HTTPOrigin(scheme: "https", authority: authority) }
        if let origin = request.headers["Origin"] { _ = HTTPOrigin(origin) }
        if request.asksToUpgrade(to: "websocket") {
            return HTTPResponse(.switchingProtocols, headers: ["Connection": "Upgrade", "Upgrade": "websocket"])
        }
        return .cacheable(
            Array("\(request.target.decodedPath ?? "?") \(items) \(request.body.count)".utf8),
            tag: EntityTag(of: request.body),
            headers: ["X-Path": request.target.path],
            for: request
        )
    }
}
