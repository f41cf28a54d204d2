import CallSimulation
import NetTypes
import Simulation
import TestSupport
import Testing

@Suite struct CallDeterminismTests {
    @Test(arguments: seeds(12)) func `equal seeds give equal calls, byte for byte`(_ seed: UInt64) throws {
        func capture() -> (PcapFile, UInt64) {
            var run = CallRun(
                .nat(NATBehavior.allKinds[Int(seed % 9)], [.ipv4, .ipv6]),
                .nat(.symmetric, [.ipv4, .ipv6])
            )
            run.loss = 0.05
            let world = run.makeWorld(seed: seed)
            world.network.recorder.capturedSegments = []
            world.start()
            world.network.run(for: .seconds(40))
            return (world.network.recorder.capture, world.network.eventCount)
        }
        let (first, second) = (capture(), capture())
        #expect(first.0.packetCount > 100)
        #expect(first.1 == second.1)
        #expect(first.0.bytes == second.0.bytes)
    }
}
