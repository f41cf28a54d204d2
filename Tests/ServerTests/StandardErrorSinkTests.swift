import Diagnostics
import Glibc
import Testing

@testable import Server

/// The log's last step, with a pipe in place of standard error.
@Suite struct StandardErrorSinkTests {
    @Test func `a reader that has stopped reading stops nobody, and is told what it has missed`() throws {
        var ends: [Int32] = [-1, -1]
        // The array has room for the two numbers that the call writes.
        try #require(unsafe pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        let sink = StandardErrorSink(format: .json, addresses: .hidden, descriptor: ends[1])
        // A pipe holds 64 KiB: it is full long before the last line.
        for _ in 0..<4096 { sink.write(.info, "A line of which there are far too many for the pipe.", [:]) }
        let first = drain(ends[0])
        #expect(first.hasSuffix("\n"), "no line is cut in two")
        sink.write(.info, "The next line.", [:])
        let second = drain(ends[0])
        #expect(second.contains("Log lines were lost"))
        #expect(second.contains("The next line."))
        #expect(second.split(separator: "\n").count == 2)
    }

    private func drain(_ descriptor: Int32) -> String {
        // Room for all that a pipe holds, which is what the call may write at most.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 1 << 17) { buffer, count in
            count = unsafe max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
