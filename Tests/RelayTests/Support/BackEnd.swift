import EventLoop
import Glibc
import Synchronization
import TURNServer
import Testing
import Transport

@testable import Relay

/// The back end of the relays that a test makes.
enum BackEnd {
    @TaskLocal static var current = DatagramBackEnd.epoll

    /// All that this system lets us use.
    static let all: [DatagramBackEnd] = {
        var all = [DatagramBackEnd.epoll]
        if (try? DatagramReceiveBatch(ringOf: 8)) != nil { all.append(.ioUring) }
        // Root may do all that it takes: where the kernel refuses it nevertheless, the tests say so.
        if geteuid() == 0 { all.append(.socketLookup) }
        return all
    }()

    private static let blocks = Atomic<UInt16>(UInt16.random(in: 0..<blockCount))
    private static let blockCount: UInt16 = 80

    /// Relay ports of a test's own, below those that systems give to other sockets: a look-up takes the datagrams of a port
    /// from whoever else has it.
    static func ownPorts() -> ClosedRange<UInt16> {
        let first = 10_000 + blocks.wrappingAdd(1, ordering: .relaxed).oldValue % blockCount * 256
        return first...first + 255
    }

    /// Sets up a relay for the current back end.
    static func apply(to configuration: inout RelayConfiguration) {
        configuration.datagramBackEnd = current
        if current == .socketLookup { configuration.server.relayPorts = ownPorts() }
    }
}

/// Runs each test of a suite once with each back end.
struct EachBackEnd: SuiteTrait, TestTrait, TestScoping {
    let isRecursive = true

    func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? { testCase == nil ? nil : self }

    func provideScope(
        for test: Test,
        testCase: Test.Case?,
        performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        for backEnd in BackEnd.all { try await BackEnd.$current.withValue(backEnd) { try await function() } }
    }
}

extension Trait where Self == EachBackEnd {
    /// Once with epoll, once with io_uring, once with sk_lookup.
    static var eachBackEnd: Self { EachBackEnd() }
}
