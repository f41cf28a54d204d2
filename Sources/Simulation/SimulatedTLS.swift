/// TLS as far as a network can see it: records, one round trip of handshake, and bytes that look like data.
///
/// Nothing is secret and nothing is authenticated; boxes on the way that look for TLS find it.
public struct SimulatedTLS: Sendable {
    private let isClient: Bool
    /// Whether the handshake is over.
    public private(set) var isOpen = false
    private var input: [UInt8] = []
    private var waiting: [UInt8] = []

    private static let handshake: UInt8 = 22
    private static let data: UInt8 = 23

    /// Makes one side of a connection.
    public init(isClient: Bool) { self.isClient = isClient }

    /// The first bytes of a client; empty for a server.
    public func opening() -> [UInt8] { isClient ? Self.record(Self.handshake, [UInt8](repeating: 1, count: 250)) : [] }

    /// Takes bytes of the stream: what they say, and what is to be sent because of them; `nil` if they are not TLS.
    public mutating func receive(_ bytes: [UInt8]) -> (data: [UInt8], reply: [UInt8])? {
        input += bytes
        var (data, reply): ([UInt8], [UInt8]) = ([], [])
        while input.count >= 5 {
            guard input[0] == Self.handshake || input[0] == Self.data, input[1] == 3 else { return nil }
            let count = Int(input[3]) << 8 | Int(input[4])
            guard input.count >= 5 + count else { break }
            if input[0] == Self.data {
                data += input[5..<5 + count]
            } else if !isOpen {
                isOpen = true
                if !isClient { reply += Self.record(Self.handshake, [UInt8](repeating: 2, count: 1500)) }
                reply += waiting.isEmpty ? [] : Self.records(waiting)
                waiting = []
            }
            input.removeFirst(5 + count)
        }
        return (data, reply)
    }

    /// Wraps bytes; before the end of the handshake they wait for it, and nothing is to be sent.
    public mutating func wrap(_ bytes: [UInt8]) -> [UInt8] {
        guard isOpen else {
            waiting += bytes
            return []
        }
        return Self.records(bytes)
    }

    private static func records(_ bytes: [UInt8]) -> [UInt8] {
        stride(from: 0, to: bytes.count, by: 16_000).flatMap {
            record(data, Array(bytes[$0..<min(bytes.count, $0 + 16_000)]))
        }
    }

    private static func record(_ type: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [type, 3, 3, UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
    }
}
