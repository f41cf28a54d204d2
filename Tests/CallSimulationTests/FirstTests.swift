import CallSimulation
import Testing

@Suite struct First {
    @Test func `x`() {}
}
