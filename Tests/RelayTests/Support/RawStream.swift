import Bytes
import NetTypes
import Testing
import Transport

@testable import Relay

/// A peer's TCP connection, whose bytes mean nothing.
final class RawStream {
    var connection: StreamConnection
    private(set) var end: StreamReadResult?
    private var bytes: [UInt8] = []

    init(_ socket: consuming TCPSocket) {
        connection = StreamConnection(socket, outputLimit: 1 << 20)
        connection.flush()
    }

    func send(_ bytes: [UInt8]) {
        let result = connection.write(bytes.span)
        #expect(result == .sent || result == .queued)
    }

    /// Sends what the kernel takes of the bytes; returns how many that were.
    func sendSome(_ bytes: ArraySlice<UInt8>) -> Int {
        connection.flush()
        guard connection.queuedBytes == 0 else { return 0 }
        send(Array(bytes))
        return bytes.count
    }

    func receive() {
        connection.flush()
        while end == nil {
            var result = StreamReadResult.wouldBlock
            bytes.append(addingCapacity: 4096) { result = connection.read(into: &$0) }
            if case .bytes = result { continue }
            if result != .wouldBlock { end = result }
            break
        }
    }

    /// Waits for so many bytes, which are all there are.
    func next(_ count: Int, _ shard: inout TestShard) throws -> [UInt8] {
        try shard.work { _ in
            receive()
            return bytes.count >= count
        }
        defer { bytes = [] }
        return bytes
    }

    func waitForEnd(_ shard: inout TestShard) throws {
        try shard.work { _ in
            receive()
            return end != nil
        }
    }
}

extension ShardStream {
    /// Takes what a peer has sent.
    func takeRaw() -> [UInt8] {
        receive()
        defer { bytes = [] }
        return bytes
    }

    /// Waits for so many bytes of a peer, which are all there are.
    func next(_ count: Int, _ shard: inout TestShard) throws -> [UInt8] {
        try shard.work { _ in
            receive()
            return bytes.count >= count
        }
        return takeRaw()
    }
}
