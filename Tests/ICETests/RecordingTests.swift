import Bytes
import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct RecordingTests {
    private func recorded(seed: UInt64) -> TestNetwork {
        var one = ICEConfiguration(role: .controlling)
        one.isRecorded = true
        one.recheckInterval = .seconds(20)
        var other = ICEConfiguration(role: .controlled)
        other.isRecorded = true
        var net = TestNetwork(one, other, seed: seed)
        net.loss = 0.2
        net.exchange()
        net.addHost(0, "10.0.0.1:1000", nat: .cone(.address), outer: "192.0.2.1:1111", network: 1)
        net.addHost(0, "10.5.0.1:1000", network: 2)
        net.addHost(1, "198.51.100.2:2222")
        net.endCandidates()
        net.first.note(.serverSilent(server: "stun:3478", transport: .udp))
        net.first.sendFailed(on: BaseID(rawValue: 1), to: nil, .messageTooBig(mtu: 1280), at: net.now)
        net.run(for: .seconds(20))
        net.sendData(0)
        net.first.removeBase(BaseID(rawValue: 2), at: net.now)
        net.run(for: .seconds(20))
        _ = net.first.restart(at: net.now)
        net.run(for: .seconds(5))
        net.first.close(at: net.now)
        net.drain()
        return net
    }

    @Test func `A recorded life is lived again to the same bytes`() throws {
        for seed in seeds(25) {
            let net = recorded(seed: seed)
            for recording in [net.first.recording(), net.second.recording()] {
                let recording = try #require(recording)
                #expect(recording.count > 1000)
                let again = try ICEAgent.replay(recording)
                #expect(again == recording, "seed \(seed)")
            }
        }
    }

    @Test func `Bytes that are no recording are refused`() throws {
        #expect(throws: ReplayError.truncated) { try ICEAgent.replay([]) }
        #expect(throws: ReplayError.notARecording) { try ICEAgent.replay([1, 2, 3, 4, 5]) }
        let found = recorded(seed: 3).second.recording()
        let recording = try #require(found)
        for seed in seeds(100) {
            var entropy = Entropy.seeded(seed)
            var copy = recording
            copy[Int(entropy.next() % 400)] ^= UInt8(truncatingIfNeeded: entropy.next() | 1)
            copy.removeLast(Int(entropy.next() % UInt64(copy.count / 2)))
            _ = try? ICEAgent.replay(copy)
        }
    }

    @Test func `Without the wish for it nothing is kept`() {
        var net = TestNetwork()
        net.start()
        net.run(for: .seconds(1))
        let recording = net.first.recording()
        #expect(recording == nil)
    }
}
