import Connectivity
import Crypto
import EventLoop
import Glibc
import ICE
import ICETransport
import NetTypes
import PeerTools
import Pipe
import STUN
import Testing

/// Two connections that stand, for pumps at both ends.
struct Pumps {
    let loop: ICELoop
    let secondLoop: ICELoop
    let first: ICEConnection
    let second: ICEConnection
    private let signaling: Task<Void, Never>

    init(consentLifetime: TimeSpan = .seconds(30)) async throws {
        // A pump of a program that ignores it gets an error instead.
        signal(SIGPIPE, SIG_IGN)
        let loop = try ICELoop()
        let secondLoop = try ICELoop()
        func configuration(_ role: ICERole) -> ICESessionConfiguration {
            var configuration = ICESessionConfiguration(ICEConfiguration(role: role))
            configuration.usesLoopback = true
            configuration.usesPortMapping = false
            configuration.ice.consentLifetime = consentLifetime
            // Checks that nobody answers are given up in 4.5 s.
            configuration.ice.retransmission.requestCount = 4
            configuration.ice.retransmission.lastWaitFactor = 2
            return configuration
        }
        let first = try loop.connection(configuration(.controlling))
        let second = try secondLoop.connection(configuration(.controlled))
        first.setRemoteDescription(second.localDescription)
        second.setRemoteDescription(first.localDescription)
        first.gather()
        second.gather()
        signaling = Task {
            await withTaskGroup(of: Void.self) { group in
                for (from, to) in [(first, second), (second, first)] {
                    group.addTask {
                        for await case .found(let candidate) in from.candidates { to.addRemoteCandidate(candidate) }
                    }
                }
            }
        }
        for connection in [first, second] {
            for await state in connection.states where state == .connected || state == .completed { break }
        }
        (self.loop, self.secondLoop, self.first, self.second) = (loop, secondLoop, first, second)
    }

    /// Pumps at one end until that is over.
    func run(
        isFirst: Bool,
        from input: Int32?,
        to output: Int32,
        stop: PipeStop? = nil,
        progress: @escaping @Sendable (PipePump.Outcome) -> Void = { _ in }
    ) async throws -> PipePump.Outcome {
        let connection = isFirst ? first : second
        return try await onThread {
            let keys = PipeKeys(secret: "s", offerer: "o", answerer: "a", isOfferer: isFirst)
            var pump = PipePump(connection, keys, input: input, output: output, stop: stop)
            return try pump.run(progress: progress)
        }
    }

    func end() async {
        await first.close()
        await second.close()
        await signaling.value
        loop.stop()
        secondLoop.stop()
    }
}

/// Runs what waits in system calls on a thread of its own.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        do {
            _ = try LoopThread(name: "pump") { continuation.resume(with: Swift.Result { try body() }) }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// Descriptors that pumps read and write.
enum Ends {
    /// A file without a name, with these bytes in it.
    static func file(_ bytes: [UInt8]) throws -> Descriptor {
        var path = Array("/tmp/floe-test-XXXXXX".utf8CString)
        // The template's storage lives through the calls, which write into its last six characters.
        let file = Descriptor(owning: unsafe mkstemp(&path))
        unsafe unlink(path)
        try #require(file.number >= 0)
        try write(bytes, to: file.number)
        lseek(file.number, 0, SEEK_SET)
        return file
    }

    /// A terminal of a program, and the other side of it, which shows what is written, or does not.
    struct Terminal: ~Copyable {
        let master: Descriptor
        let slave: Descriptor

        init() throws {
            let number = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY)
            var isLocked: Int32 = 0
            // TIOCSPTLCK reads a number that lives through the call; TIOCGPTPEER opens the other side.
            let result = unsafe ioctl(number, 0x4004_5431, &isLocked)
            let peer = ioctl(number, 0x5441, O_RDWR | O_NOCTTY)
            master = Descriptor(owning: number)
            slave = Descriptor(owning: peer)
            try #require(result == 0 && peer >= 0)
        }
    }

    /// Two ends of something that holds little: what is written to the second is read from the first.
    struct Pair: ~Copyable {
        var reading: Descriptor?
        var writing: Descriptor?
        let readingNumber: Int32
        let writingNumber: Int32

        init(isSocket: Bool = false) throws {
            var numbers: [Int32] = [-1, -1]
            // The kernel writes two numbers into the array's storage.
            let result =
                isSocket ? unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &numbers) : unsafe pipe(&numbers)
            (readingNumber, writingNumber) = (numbers[0], numbers[1])
            reading = Descriptor(owning: numbers[0])
            writing = Descriptor(owning: numbers[1])
            try #require(result == 0)
        }
    }

    static func write(_ bytes: [UInt8], to descriptor: Int32) throws {
        var start = 0
        while start < bytes.count {
            // The array's storage lives through the call; the range is within it.
            let written = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress.map { unsafe $0 + start }, bytes.count - start)
            }
            try #require(written > 0)
            start += written
        }
    }

    /// Reads so many bytes, or up to the end.
    static func read(_ count: Int, from descriptor: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let room = min(count - bytes.count, 1 << 20)
            var result = 0
            // The kernel writes at most `room` bytes into the array's memory.
            bytes += unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, filled in
                result = unsafe Glibc.read(descriptor, buffer.baseAddress, room)
                filled = max(0, result)
            }
            guard result > 0 else { break }
        }
        return bytes
    }

    /// Waits until a descriptor can be written: what is read at the other side makes room a little later.
    static func waitForRoom(_ descriptor: Int32) throws {
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(descriptor, token: 0, interest: .write)
        try poller.wait(until: MonotonicClock.now() + .seconds(60), into: &events)
    }

    static func content(_ file: borrowing Descriptor) -> [UInt8] {
        let count = Int(lseek(file.number, 0, SEEK_END))
        lseek(file.number, 0, SEEK_SET)
        return read(count, from: file.number)
    }
}
