/// Takes a message's content out of its framing, within limits (RFC 9112 §6.2, §7.1).
struct BodyDecoder {
    private enum State {
        case data(remaining: Int, isChunk: Bool)
        case chunkSize
        case chunkEnd
        case trailer
        case done
    }

    private var state: State
    private let bodyBytes: Int
    private var trailer: HeaderSection
    // Sizes and extensions of chunks cost the sender little: what they may add up to is bounded too.
    private var framingLeft: Int

    /// The content so far.
    private(set) var content: [UInt8] = []

    init(_ framing: RequestHeadParser.Framing, limits: HTTPLimits) {
        bodyBytes = limits.bodyBytes
        trailer = HeaderSection(limits: limits)
        framingLeft = max(limits.bodyBytes, 65536)
        switch framing {
        case .length(let count): state = .data(remaining: count, isChunk: false)
        case .chunked: state = .chunkSize
        }
    }

    /// Takes what is there; `true` once the content is complete.
    mutating func decode(_ buffer: inout LineBuffer) throws(HTTPDropReason) -> Bool {
        while true {
            switch state {
            case .data(let remaining, let isChunk):
                let bytes = buffer.take(remaining)
                content.append(contentsOf: bytes)
                guard bytes.count == remaining else {
                    state = .data(remaining: remaining - bytes.count, isChunk: isChunk)
                    return false
                }
                state = isChunk ? .chunkEnd : .done
            case .chunkSize:
                guard let line = try buffer.takeLine(limit: 256, tooLong: .invalidChunk) else { return false }
                framingLeft -= line.count + 4
                guard framingLeft >= 0 else { throw .invalidChunk }
                let size = try Self.chunkSize(line)
                guard size <= bodyBytes - content.count else { throw .bodyTooLarge }
                state = size == 0 ? .trailer : .data(remaining: size, isChunk: true)
            case .chunkEnd:
                guard let line = try buffer.takeLine(limit: 0, tooLong: .invalidChunk) else { return false }
                guard line.isEmpty else { throw .invalidChunk }
                state = .chunkSize
            case .trailer:
                // Trailers are read for their syntax and dropped, as RFC 9110 §6.5.1 allows.
                guard try trailer.parse(&buffer) else { return false }
                state = .done
            case .done: return true
            }
        }
    }

    /// The number before the extensions, which are ignored (RFC 9112 §7.1.1); too large a number is `Int.max`.
    private static func chunkSize(_ line: ArraySlice<UInt8>) throws(HTTPDropReason) -> Int {
        let digits = line.prefix { $0.hexValue != nil }
        let rest = line[digits.endIndex...].drop(while: \.isWhitespace)
        let isWhole = digits.endIndex == line.endIndex
        guard !digits.isEmpty, isWhole || rest.first == UInt8(ascii: ";") else { throw .invalidChunk }
        return Int(String(decoding: digits, as: UTF8.self), radix: 16) ?? .max
    }
}
