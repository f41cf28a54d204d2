import Bytes

/// What a packet of a pipe says, in the clear.
///
///     datagram   0xF2 | number (8) | sealed (content) | tag (16)
///     content    kind (1) | fields
///     data       0 | flags (1: last bit "end") | offset (8) | bytes
///     ack        1 | limit (8) | flags (1: last bit "written", the one before "heard") | count (1) |
///                count times: first (8) | last (8)
///     abort      2
///
/// All numbers are big-endian. `number` counts the datagrams of a direction from 0, is the nonce, and is never used again:
/// what is sent again goes under a new number, so that an acknowledgement tells which copy has arrived.
enum PipePacket: Equatable {
    /// Bytes of the stream from `offset` on; with `isEnd`, the stream has no more.
    case data(offset: UInt64, isEnd: Bool, bytes: [UInt8])
    /// Numbers that have come, the highest range first, and the offset up to which bytes are taken.
    case ack(limit: UInt64, news: News, ranges: [ClosedRange<UInt64>])
    /// The sender ends before its time, or has heard that the receiver does: neither stream is to be taken for complete.
    case abort

    /// How far the sender of an acknowledgement is with the end.
    struct News: OptionSet {
        let rawValue: UInt8
        /// Its owner has done with the receiver's whole stream what was to be done: nothing of it can be lost any more.
        static let written = News(rawValue: 1)
        /// It has heard the receiver say `written`.
        static let heard = News(rawValue: 2)
    }

    static let version: UInt8 = 0xF2
    static let headerBytes = 9
    static let maximumRanges = 24

    var content: [UInt8] {
        switch self {
        case .data(let offset, let isEnd, let bytes):
            buildBytes(capacity: 10 + bytes.count) { output in
                output.append(0)
                output.append(isEnd ? 1 : 0)
                output.append(bigEndian: offset)
                output.append(contentsOf: bytes.span)
            }
        case .abort: [2]
        case .ack(let limit, let news, let ranges):
            buildBytes(capacity: 11 + ranges.count * 16) { output in
                output.append(1)
                output.append(bigEndian: limit)
                output.append(news.rawValue)
                output.append(UInt8(ranges.count))
                for range in ranges {
                    output.append(bigEndian: range.lowerBound)
                    output.append(bigEndian: range.upperBound)
                }
            }
        }
    }

    /// Reads a content; `nil` if it is none.
    init?(_ content: [UInt8]) {
        do throws(WireError) {
            var reader = ByteReader(content.span)
            switch try reader.readUInt8() {
            case 0:
                let isEnd = try reader.readUInt8() & 1 == 1
                let offset = try reader.readUInt64()
                self = .data(offset: offset, isEnd: isEnd, bytes: Array(content[10...]))
            case 1:
                let limit = try reader.readUInt64()
                let news = News(rawValue: try reader.readUInt8())
                let count = Int(try reader.readUInt8())
                guard count <= Self.maximumRanges else { return nil }
                var ranges: [ClosedRange<UInt64>] = []
                for _ in 0..<count {
                    let first = try reader.readUInt64()
                    let last = try reader.readUInt64()
                    guard first <= last, ranges.last.map({ last < $0.lowerBound }) ?? true else { return nil }
                    ranges.append(first...last)
                }
                self = .ack(limit: limit, news: news, ranges: ranges)
            case 2: self = .abort
            default: return nil
            }
        } catch {
            return nil
        }
    }
}

/// A set of packet numbers as ranges, the highest first; bounded.
struct NumberRanges {
    private(set) var ranges: [ClosedRange<UInt64>] = []
    /// Numbers below were forgotten: they count as seen.
    private var floor: UInt64 = 0

    var highest: UInt64? { ranges.first?.upperBound }

    /// Adds a number; `false` if it was seen, or may have been.
    mutating func insert(_ number: UInt64) -> Bool {
        guard number >= floor else { return false }
        let place = ranges.firstIndex { $0.lowerBound <= number } ?? ranges.count
        if place < ranges.count, ranges[place].contains(number) { return false }
        let touchesBelow = place < ranges.count && ranges[place].upperBound + 1 == number
        let touchesAbove = place > 0 && number + 1 == ranges[place - 1].lowerBound
        switch (touchesBelow, touchesAbove) {
        case (true, true):
            ranges[place - 1] = ranges[place].lowerBound...ranges[place - 1].upperBound
            ranges.remove(at: place)
        case (true, false): ranges[place] = ranges[place].lowerBound...number
        case (false, true): ranges[place - 1] = number...ranges[place - 1].upperBound
        case (false, false): ranges.insert(number...number, at: place)
        }
        if ranges.count > PipePacket.maximumRanges {
            let lost = ranges.removeLast()
            floor = lost.upperBound + 1
        }
        return true
    }
}
