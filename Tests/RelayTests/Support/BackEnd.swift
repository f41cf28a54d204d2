import EventLoop
import Testing
import Transport

/// The back end of the relays that a test makes.
enum BackEnd {
    @TaskLocal static var current = DatagramBackEnd.epoll

    /// All that this system lets us use.
    static let all: [DatagramBackEnd] = {
        do throws(SystemError) {
            _ = try DatagramReceiveBatch(ringOf: 8)
            return [.epoll, .ioUring]
        } catch {
            return [.epoll]
        }
    }()
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
    /// Once with epoll, once with io_uring.
    static var eachBackEnd: Self { EachBackEnd() }
}
