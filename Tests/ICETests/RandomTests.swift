import NetTypes
import TestSupport
import Testing

@testable import ICE

@Suite struct RandomTests {
    @Test func `No script of calls, packets and time breaks a table, a limit or the rest`() {
        var paths = 0
        for seed in seeds(500) {
            var entropy = Entropy.seeded(seed)
            var script: [UInt8] = [8, 1, 0x11, 0x88, 1, 0x22, 9, 0x89]
            script += entropy.bytes(200 + Int(entropy.next() % 400))
            var exercise = ICEExercise(seed: seed)
            exercise.run(script.span)
            paths += exercise.paths
        }
        #expect(paths > 0)
    }

    @Test func `A random life is lived again to the same bytes`() throws {
        for seed in seeds(100) {
            var entropy = Entropy.seeded(seed)
            var exercise = ICEExercise(seed: seed, isRecorded: true)
            let script = entropy.bytes(400)
            exercise.run(script.span)
            let found = exercise.recording()
            let recording = try #require(found)
            #expect(try ICEAgent.replay(recording) == recording)
        }
    }
}
