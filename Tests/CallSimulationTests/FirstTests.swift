import CallSimulation
import Diagnostics
import NetTypes
import Simulation
import Testing

@Suite struct First {
    @Test func `x`() {
        for (a, b) in [
            (Access.open, Access.open), (.nat(.portRestricted), .nat(.portRestricted)),
            (.nat(.symmetric), .nat(.symmetric)), (.nat(.portRestricted), .open),
        ] {
            let run = CallRun(a, b)
            let world = run.makeWorld(seed: 1)
            world.network.recorder.keepsNotes = true
            let t = ContinuousClock.now
            world.start()
            world.network.run(for: run.limit) { world.isSettled }
            print(a.name, b.name, world.result, ContinuousClock.now - t)
            for e in world.network.recorder.entries {
                if case .note(let n) = e.what { print(Recorder.seconds(e.time), e.place, n) }
            }
            print(world.network.failures, world.network.drops.all.filter { $0.count > 0 })
        }
    }
}
