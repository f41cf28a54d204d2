import CallSimulation
import NetTypes
import Simulation
import Testing

/// Scenarios as texts.
@Suite struct ScenarioTests {
    @Test(arguments: [
        ("call a b", "s:1: there is no host 'a'; there are none yet. It must stand above this line."),
        (
            "\nspeed 3",
            "s:2: there is no statement 'speed'; they are seed, run, nat, host, server, signaling, call, at, expect."
        ),
        ("seed x", "s:1: 'x' is no seed; write a number."),
        ("run 5", "s:1: '5' is no time; write a number with us, ms, s or m, such as 250ms."),
        (
            "nat home kind=odd",
            "s:1: there is no kind of NAT 'odd'; write none, full-cone, address-restricted, port-restricted, symmetric, linux, leaky-linux, carrier."
        ),
        ("nat home mapping=x", "s:1: 'x' is no value of 'mapping'; write ei, ad, apd."),
        ("nat home loss=2", "s:1: '2' is no share; write a percentage, such as loss=2%."),
        ("host a\nhost a", "s:2: there is a 'a' already; choose another name."),
        ("host a b", "s:1: 'b' is not understood here; leave it out."),
        ("host", "s:1: a name is missing at the end of the line."),
        ("host a rate=-1", "s:1: '-1' is no number; write rate=1000, for example."),
        (
            "host a\nat 5s dance a",
            "s:2: nothing is called 'dance'; write reboot, fault, link, sleep, wake, down, up, renumber, jump or restart."
        ),
        ("host a\nhost b\ncall a b\nexpect direct b a", "s:4: there is no 'call b a' above this line."),
        ("# nothing", "s:1: there is no call; add a line such as 'call alice bob'."),
    ]) func `errors name file, line and what to do`(_ text: String, _ message: String) {
        #expect {
            _ = try Scenario(text, file: "s")
        } throws: {
            "\($0)" == message
        }
    }

    static let call = """
        run 25s
        server turn
        nat left kind=port-restricted
        nat right kind=%
        host alice behind left
        host bob behind right
        call alice bob
        """

    func outcome(_ text: String, seed: UInt64 = 1) throws -> ScenarioRun.Outcome {
        let run = ScenarioRun(try Scenario(text, file: "s"), seed: seed)
        run.run()
        return try #require(run.outcomes.first)
    }

    @Test func `a call is direct or relayed, and expectations are held against it`() throws {
        let text = Self.call.replacing("%", with: "symmetric") + "\nexpect direct alice bob"
        let run = ScenarioRun(try Scenario(text, file: "s"), captures: true)
        run.run()
        #expect(run.disappointments == ["s:8: alice and bob should be direct and are relayed (seed 1)."])
        #expect(run.timeline.contains("state connected"))
        #expect(run.json.hasPrefix("{\"seed\":1,\"events\":[{\"microseconds\":0,"))
        #expect(run.network.recorder.capture.packetCount > 100)
        #expect(try outcome(Self.call.replacing("%", with: "full-cone")).outcome == .direct)
    }

    /// Faults in a running call: what happens, how the call has to end, how many milliseconds data may be missing.
    @Test(arguments: [
        ("at 10s reboot left", Scenario.Expectation.connected, 3000),
        ("at 10s reboot left new-address", .connected, 3000),
        ("at 10s reboot right new-address", .connected, 3000),
        ("at 10s renumber alice", .connected, 1000),
        ("at 10s down alice\nat 15s up alice", .connected, 6000),
        ("at 10s sleep bob\nat 70s wake bob", .connected, 63_000),
        ("at 10s jump alice 3600s", .connected, 3000),
        ("at 10s jump bob 20s", .connected, 1000),
        ("at 10s fault turn dead", .direct, 200),
        ("at 10s link left loss=20%", .connected, 1000),
        ("at 10s link left mtu=1280", .direct, 200),
        ("at 10s restart alice", .direct, 200),
        ("at 10s restart bob", .direct, 200),
    ]) func `a call outlives faults (ice 131, 133)`(
        _ step: String,
        _ expected: Scenario.Expectation,
        _ gap: UInt64
    ) throws {
        let text = Self.call.replacing("%", with: "full-cone").replacing("run 25s", with: "run 150s") + "\n" + step
        let outcome = try outcome(text)
        if expected == .connected { #expect(outcome.outcome != .failed) } else { #expect(outcome.outcome == expected) }
        #expect(outcome.longestGap <= .milliseconds(gap))
    }

    /// Servers and channels that fail at the start.
    @Test(arguments: [
        ("server gone dead", "port-restricted", Scenario.Expectation.direct),
        ("server late slow=2s", "port-restricted", .direct),
        ("server packed full", "symmetric", .relayed),
        ("signaling delay=90s", "port-restricted", .direct),
        ("signaling delay=100ms jitter=2s reorder=yes", "symmetric", .relayed),
        ("nat cg kind=carrier", "linux", .relayed),
    ]) func `calls begin in spite of faults`(_ line: String, _ kind: String, _ expected: Scenario.Expectation) throws {
        let text = line + "\n" + Self.call.replacing("%", with: kind).replacing("run 25s", with: "run 240s")
        let outcome = try outcome(text)
        if kind == "linux" { #expect(outcome.outcome != .failed) } else { #expect(outcome.outcome == expected) }
    }

    @Test func `without a server and without a way there is a verdict`() throws {
        let text = Self.call.replacing("server turn\n", with: "").replacing("%", with: "symmetric")
            .replacing("run 25s", with: "run 120s")
        let outcome = try outcome(text)
        #expect(outcome.outcome == .failed)
        #expect(outcome.verdict?.isEmpty == false)
    }
}
