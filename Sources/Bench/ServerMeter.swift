import Glibc
import NetTypes

/// Reads what the server has used: processor time of its threads and of the kernel's that work for it, and memory.
///
/// `schedstat` counts nanoseconds, where the usual ticks of 10 ms say nothing about a server that sleeps between packets.
struct ServerMeter {
    private let process: Int32
    private let kernelThreads: [Int32]

    /// - Throws: If the process is not there or a kernel thread cannot be found.
    init(process: Int32, kernelThreads names: [String]) throws(BenchError) {
        self.process = process
        guard Self.text("/proc/\(process)/stat") != nil else {
            throw BenchError("there is no process \(process) on this machine whose use could be read")
        }
        let all = names.isEmpty ? [] : Self.numbers(in: "/proc")
        var found: [Int32] = []
        for name in names {
            let matching = all.filter { Self.text("/proc/\($0)/comm") == name + "\n" }
            guard !matching.isEmpty else { throw BenchError("there is no kernel thread '\(name)'") }
            found += matching
        }
        kernelThreads = found
    }

    /// Nanoseconds of processor time so far.
    var processorNanoseconds: UInt64 {
        let threads = Self.numbers(in: "/proc/\(process)/task").map { "/proc/\(process)/task/\($0)/schedstat" }
        let kernel = kernelThreads.map { "/proc/\($0)/schedstat" }
        return (threads + kernel).reduce(0) { $0 + (Self.firstNumber($1) ?? 0) }
    }

    /// Bytes of the process that are in memory.
    var residentBytes: UInt64 {
        let fields = (Self.text("/proc/\(process)/statm") ?? "").split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
        return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Nanoseconds of processor time that the calling thread has used.
    static var ownNanoseconds: UInt64 {
        var time = timespec()
        guard unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0 else { return 0 }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func firstNumber(_ path: String) -> UInt64? {
        text(path)?.split(separator: " ").first.flatMap { UInt64($0) }
    }

    private static func numbers(in directory: String) -> [Int32] {
        guard let handle = unsafe opendir(directory) else { return [] }
        defer { unsafe closedir(handle) }
        var found: [Int32] = []
        while let entry = unsafe readdir(handle) {
            // The name ends with a zero byte, and lives until the next entry is read.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if let number = Int32(name) { found.append(number) }
        }
        return found
    }

    private static func text(_ path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var chunk = [UInt8](repeating: 0, count: 4096)
        // The chunk's storage lives through the call and is as long as is said.
        let count = unsafe chunk.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        return count > 0 ? String(decoding: chunk[..<count], as: UTF8.self) : nil
    }
}
