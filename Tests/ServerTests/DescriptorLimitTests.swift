import FoundationEssentials
import Testing

@testable import Server

@Suite struct DescriptorLimitTests {
    @Test func `the process gets all the descriptors that it may have`() throws {
        let raised = DescriptorLimit.raise()
        let limits = try #require(FileManager.default.contents(atPath: "/proc/self/limits"))
        let line = try #require(
            String(decoding: limits, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("Max open files") }
        )
        let numbers = line.split(separator: " ").compactMap { UInt64($0) }
        #expect(numbers == [raised, raised], "soft and hard limit")
    }
}
