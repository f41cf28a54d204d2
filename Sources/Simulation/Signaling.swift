public import NetTypes

/// What happens to messages between programs on their way over the signaling channel.
public struct SignalingConditions: Sendable, Hashable {
    /// How long a message takes, from milliseconds to minutes.
    public var delay = TimeSpan.milliseconds(50)
    /// What comes on top, up to this, equally likely.
    public var jitter = TimeSpan.zero
    /// How likely a message is lost, 0 to 1.
    public var loss = 0.0
    /// Whether messages overtake each other; otherwise those of one sender stay in order.
    public var reorders = false
    /// How likely a message arrives twice, 0 to 1.
    public var duplication = 0.0
    /// Until when nothing gets through; what is sent before arrives after it.
    public var downUntil = Instant.zero

    /// Makes a channel of 50 ms without faults.
    public init() {}
}

struct SignalingState {
    var entropy: Entropy
    var lastArrival: [String: Instant] = [:]

    mutating func unit() -> Double { Double(entropy.next() >> 11) * 0x1p-53 }
}

extension SimulatedNetwork {
    func signal(_ message: [UInt8], from host: SimulatedHost, to peer: String) {
        guard let receiver = hosts.first(where: { $0.name == peer }) else { return }
        if signaling.loss > 0, signalingState.unit() < signaling.loss { return }
        let copies = signaling.duplication > 0 && signalingState.unit() < signaling.duplication ? 2 : 1
        for _ in 0..<copies {
            let extra = signaling.jitter == .zero ? .zero : signaling.jitter.scaled(by: signalingState.unit())
            var arrival = max(now, signaling.downUntil) + signaling.delay + extra
            if !signaling.reorders {
                let pair = host.name + ">" + peer
                arrival = max(arrival, signalingState.lastArrival[pair] ?? .zero)
                signalingState.lastArrival[pair] = arrival
            }
            for program in receiver.programs.indices {
                post(.signal(message, from: host.name), to: receiver, program: program, after: arrival - now)
            }
        }
    }
}
