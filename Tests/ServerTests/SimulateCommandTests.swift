import Testing

@testable import Server

/// `floe simulate` as a process of its own.
@Suite struct SimulateCommandTests {
    static let scenarios =
        #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/Examples/Scenarios/"

    @Test(arguments: ["symmetric", "port-restricted", "reboot", "blocked"])
    func `every example comes true, and equal seeds print equal lines`(_ name: String) async throws {
        let first = try await CommandResult(["simulate", Self.scenarios + name + ".txt"])
        #expect(first.status == 0)
        #expect(first.output.contains("state connected"))
        let second = try await CommandResult(["simulate", Self.scenarios + name + ".txt"])
        #expect(second.output == first.output)
        let other = try await CommandResult(["simulate", Self.scenarios + name + ".txt", "--seed", "99", "--json"])
        #expect(other.status == 0)
        #expect(other.output.hasPrefix("{\"seed\":99,"))
    }

    @Test func `what cannot be read is named`() async throws {
        let missing = try await CommandResult(["simulate", "/nowhere/at-all.txt"])
        #expect(missing.status == 2)
        #expect(missing.errors.contains("There is no file '/nowhere/at-all.txt'; Examples/Scenarios has some."))
        let nothing = try await CommandResult(["simulate"])
        #expect(nothing.errors.contains("'simulate' needs a file: floe simulate SCENARIO, or floe simulate --matrix."))
    }
}
