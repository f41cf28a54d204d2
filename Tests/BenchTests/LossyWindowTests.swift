import Testing

@testable import Bench

@Suite struct LossyWindowTests {
    /// Plays a loop in which every `interval`th packet is lost; returns how many places are left of 1000.
    private static func places(losing interval: Int, rounds: Int) -> Int {
        var (window, onTheWay, number) = (LossyWindow(), 0, 0)
        for _ in 0..<rounds {
            let sent = 1000 - onTheWay
            onTheWay = 1000
            var skipped = 0
            for _ in 0..<sent {
                number += 1
                if number % interval == 0 {
                    skipped += 1
                } else {
                    onTheWay -= window.arrival(overtaking: skipped)
                    skipped = 0
                }
            }
        }
        return 1000 - onTheWay
    }

    @Test func `without a loss each arrival frees its place`() {
        var window = LossyWindow()
        for _ in 0..<10_000 { #expect(window.arrival(overtaking: 0) == 1) }
        #expect(window.overtaken == 0)
    }

    @Test func `few losses leave the window as it is, many narrow it`() {
        #expect(Self.places(losing: 1000, rounds: 1000) > 950)
        #expect(Self.places(losing: 20, rounds: 1000) < 100)
    }

    @Test func `who comes late frees a place once`() {
        var window = LossyWindow()
        #expect(window.arrival(overtaking: 2) == 1)
        #expect(window.lateArrival() == 1)
        #expect(window.lateArrival() == 1)
        #expect(window.lateArrival() == 0)
        #expect(window.arrival(overtaking: 1) == 1)
        let freed = (0..<2 * LossyWindow.arrivalsPerPlace).reduce(0) { sum, _ in sum + window.arrival(overtaking: 0) }
        #expect(freed == 2 * LossyWindow.arrivalsPerPlace + 1)
        #expect(window.lateArrival() == 0)
    }

    @Test func `what was given up frees no place again when its flow tells of it`() {
        var window = LossyWindow(forgiving: 5)
        #expect(window.arrival(overtaking: 3) == 1)
        #expect(window.overtaken == 0)
        #expect(window.arrival(overtaking: 4) == 1)
        #expect(window.overtaken == 2)
    }
}
