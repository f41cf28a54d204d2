import Connectivity
import Crypto
import EventLoop
import Glibc
import ICE
import ICETransport
import NetTypes
import PeerTools
import Pipe
import Testing

@Suite struct PeerCodeTests {
    private static func code() throws -> PeerCode {
        let credentials = try ICECredentials(usernameFragment: "abcd", password: "abcdefghijklmnopqrstuv")
        let description = ICEDescription(credentials: credentials, options: [.ice2], pacing: .milliseconds(20))
        let candidate = try Candidate(text: "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host")
        return PeerCode(description, [candidate])
    }

    @Test func `a code says what it was made of`() throws {
        let code = try Self.code()
        #expect(try PeerCode(code.text) == code)
        #expect(try PeerCode(lines: code.lines) == code)
    }

    @Test func `line breaks in a code do not matter`() throws {
        let text = try Self.code().text
        let broken = " \n" + text.prefix(20) + "\r\n  " + text.dropFirst(20) + "\n"
        #expect(try PeerCode(broken) == Self.code())
    }

    @Test func `what is no code is refused with a sentence`() throws {
        let text = try Self.code().text
        for wrong in ["", "hello", "floe1-", "floe1-!!", String(text.prefix(40)), "floe2-" + text.dropFirst(6)] {
            #expect(throws: PeerError.self) { try PeerCode(wrong) }
        }
    }
}

@Suite struct PumpTests {
    /// A file without a name, with these bytes in it.
    private static func file(_ bytes: [UInt8]) throws -> Descriptor {
        var path = Array("/tmp/floe-test-XXXXXX".utf8CString)
        // The template's storage lives through the calls, which write into its last six characters.
        let file = Descriptor(owning: unsafe mkstemp(&path))
        unsafe unlink(path)
        try #require(file.number >= 0)
        var start = 0
        while start < bytes.count {
            // The array's storage lives through the call; the range is within it.
            let written = unsafe bytes.withUnsafeBytes {
                unsafe write(file.number, $0.baseAddress.map { unsafe $0 + start }, bytes.count - start)
            }
            try #require(written > 0)
            start += written
        }
        lseek(file.number, 0, SEEK_SET)
        return file
    }

    private static func content(_ file: borrowing Descriptor) -> [UInt8] {
        let count = Int(lseek(file.number, 0, SEEK_END))
        lseek(file.number, 0, SEEK_SET)
        var bytes: [UInt8] = []
        while bytes.count < count {
            let room = count - bytes.count
            var result = 0
            // The kernel writes at most `room` bytes into the array's memory.
            bytes += unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, filled in
                result = unsafe read(file.number, buffer.baseAddress, room)
                filled = max(0, result)
            }
            guard result > 0 else { break }
        }
        return bytes
    }

    /// Two connections that stand, and the task that signals between them.
    private static func connections() async throws -> (ICELoop, ICEConnection, ICEConnection, Task<Void, Never>) {
        let loop = try ICELoop()
        func configuration(_ role: ICERole) -> ICESessionConfiguration {
            var configuration = ICESessionConfiguration(ICEConfiguration(role: role))
            configuration.usesLoopback = true
            configuration.usesPortMapping = false
            return configuration
        }
        let first = try loop.connection(configuration(.controlling))
        let second = try loop.connection(configuration(.controlled))
        first.setRemoteDescription(second.localDescription)
        second.setRemoteDescription(first.localDescription)
        first.gather()
        second.gather()
        let signaling = Task {
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
        return (loop, first, second, signaling)
    }

    @Test func `eight mebibytes go through a connection and are the same`() async throws {
        var entropy = Entropy.seeded(1)
        let block = entropy.bytes(1 << 20)
        let sent = (0..<8).flatMap { number in [UInt8(number)] + block.dropFirst() }
        let input = try Self.file(sent)
        let output = try Self.file([])
        let (loop, first, second, signaling) = try await Self.connections()
        let ends = [(first, input.number as Int32?, -1 as Int32), (second, nil, output.number)]
        let outcomes = try await withThrowingTaskGroup(of: PipePump.Outcome.self) { group in
            for (index, end) in ends.enumerated() {
                group.addTask { try await Self.pump(end.0, isOfferer: index == 0, end.1, end.2) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.allSatisfy { $0.failure == nil })
        #expect(outcomes.map(\.receivedBytes).max() == UInt64(sent.count))
        #expect(MessageDigest.sha256(Self.content(output)) == MessageDigest.sha256(sent))
        await first.close()
        await second.close()
        await signaling.value
        loop.stop()
    }

    @Test(arguments: [true, false])
    func `a descriptor that fails at one end is a failure of both`(isInput: Bool) async throws {
        let bad = Descriptor(owning: isInput ? unsafe open("/tmp", O_RDONLY) : unsafe open("/dev/full", O_WRONLY))
        try #require(bad.number >= 0)
        let sent = try Self.file(isInput ? [] : [1, 2, 3])
        let (loop, first, second, signaling) = try await Self.connections()
        let input = isInput ? bad.number : sent.number
        let output = isInput ? sent.number : bad.number
        async let sending = Self.pump(first, isOfferer: true, input, -1)
        async let receiving = Self.pump(second, isOfferer: false, nil, output)
        // The end that fails closes, as the command does; then the other learns that nothing more comes.
        let failed = isInput ? try await sending : try await receiving
        await first.close()
        await second.close()
        let other = isInput ? try await receiving : try await sending
        #expect(failed.failure?.contains(isInput ? "input cannot be read" : "output cannot be written") == true)
        #expect(other.failure != nil && other.sentBytes == 0)
        await signaling.value
        loop.stop()
    }

    private static func pump(
        _ connection: ICEConnection,
        isOfferer: Bool,
        _ input: Int32?,
        _ output: Int32
    ) async throws -> PipePump.Outcome {
        try await withCheckedThrowingContinuation { continuation in
            do {
                _ = try LoopThread(name: "pump") {
                    let keys = PipeKeys(secret: "s", offerer: "o", answerer: "a", isOfferer: isOfferer)
                    var pump = PipePump(connection, keys, input: input, output: output)
                    continuation.resume(with: Result { try pump.run { _ in } })
                }
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }
}
