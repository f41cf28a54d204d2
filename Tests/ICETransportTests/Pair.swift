import Connectivity
import ICE
import ICETransport
import NetTypes
import TURN

/// Two connections of one process that signal to each other.
struct Pair: Sendable {
    let first: ICEConnection
    let second: ICEConnection

    init(
        _ loop: ICELoop,
        _ other: ICELoop? = nil,
        _ change: (inout ICESessionConfiguration) -> Void = { _ in }
    ) throws {
        func configuration(_ role: ICERole) -> ICESessionConfiguration {
            var configuration = ICESessionConfiguration(ICEConfiguration(role: role))
            configuration.usesLoopback = true
            configuration.usesPortMapping = false
            // A busy machine may take its time for what has to succeed.
            configuration.deadlines.connection = .seconds(60)
            configuration.deadlines.allocation = .seconds(60)
            change(&configuration)
            return configuration
        }
        first = try loop.connection(configuration(.controlling))
        second = try (other ?? loop).connection(configuration(.controlled))
    }

    /// Signals until the connections end; a child task of the test.
    ///
    /// `back` is for what the second signals, if that is to be changed in another way.
    func signal(
        _ transform: @escaping @Sendable (Candidate) -> Candidate? = { $0 },
        back: (@Sendable (Candidate) -> Candidate?)? = nil
    ) async {
        first.setRemoteDescription(second.localDescription)
        second.setRemoteDescription(first.localDescription)
        first.gather()
        second.gather()
        await withTaskGroup(of: Void.self) { group in
            for (from, to, transform) in [(first, second, transform), (second, first, back ?? transform)] {
                group.addTask {
                    for await update in from.candidates {
                        if case .found(let candidate) = update, let changed = transform(candidate) {
                            to.addRemoteCandidate(changed)
                        }
                    }
                }
            }
        }
    }

    /// Waits until both have a path; `false` if one has failed or ended.
    func connect() async -> Bool {
        async let one = Self.isConnected(first)
        async let other = Self.isConnected(second)
        return await (one, other) == (true, true)
    }

    private static func isConnected(_ connection: ICEConnection) async -> Bool {
        for await state in connection.states {
            if state == .connected || state == .completed { return true }
            if state == .failed { return false }
        }
        return false
    }

    /// Sends datagrams both ways until each side has had one; what each had first.
    func exchange() async -> ([UInt8]?, [UInt8]?) {
        first.send([Array("from the first".utf8)])
        second.send([Array("from the second".utf8)])
        var one = first.received.makeAsyncIterator()
        var other = second.received.makeAsyncIterator()
        return await (one.next(), other.next())
    }

    func close() async {
        await first.close()
        await second.close()
    }
}
