import NetTypes
import Transport

/// The connections to shared listeners that have not said yet whom they are for, in the order in which they came.
struct UndecidedStreams {
    private var streams: [UndecidedStream] = []
    /// How many there are of each prefix that has any.
    private var counts: [UInt64: Int] = [:]

    var count: Int { streams.count }

    /// Who is to go for a newer one: the oldest of the prefix that has most, so that one network displaces but its own.
    var victim: UndecidedStream? {
        let most = counts.values.max()
        return streams.first { counts[$0.prefix] == most }
    }

    mutating func append(_ stream: UndecidedStream) {
        streams.append(stream)
        counts[stream.prefix, default: 0] += 1
    }

    mutating func remove(_ stream: UndecidedStream) {
        guard let place = streams.firstIndex(where: { $0 === stream }) else { return }
        streams.remove(at: place)
        let count = counts[stream.prefix] ?? 0
        counts[stream.prefix] = count > 1 ? count - 1 : nil
    }
}

extension UndecidedStream {
    fileprivate var prefix: UInt64 { remote.ip.unmapped.clientPrefix }
}
