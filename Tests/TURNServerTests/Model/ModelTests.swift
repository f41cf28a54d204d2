import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// Two shards against a model that holds what the RFCs say in the plainest form.
@Suite struct ModelTests {
    /// How many operations each run has: `FLOE_MODEL_OPERATIONS`, or as many as a debug build does in some seconds.
    static let operations: Int = {
        guard let text = unsafe getenv("FLOE_MODEL_OPERATIONS") else { return 100_000 }
        return Int(unsafe String(cString: text)) ?? 100_000
    }()

    @Test(arguments: seeds(1))
    func `turn 216: random operations agree with the model, and leave nothing behind`(seed: UInt64) throws {
        let world = try ModelWorld(seed: seed)
        try world.run(Self.operations)
        let done = world.successes
        for name in ["allocate", "refresh", "createPermission", "channelBind", "move", "send", "channel", "receive"] {
            let count = done.first { $0.key.lowercased().contains(name.lowercased()) }?.value ?? 0
            #expect(count > Self.operations / 500, "\(name) hardly ever succeeds: \(done)")
        }
        try world.shutDown()
    }

    @Test(arguments: seeds(8))
    func `turn 216: every way to shut down leaves nothing behind`(seed: UInt64) throws {
        let world = try ModelWorld(seed: seed)
        try world.run(500)
        try world.shutDown()
    }
}
