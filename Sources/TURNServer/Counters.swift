import Diagnostics
import STUN

/// The running numbers of a shard; a snapshot of them is `TURNServerStatistics`.
struct Counters {
    private var drops = DropCounters<TURNServerDrop>()
    var traffic = RelayedTraffic()
    var allocationsCreated: UInt64 = 0
    var moves: UInt64 = 0
    var successes: UInt64 = 0
    private var requests = [UInt64](repeating: 0, count: Self.methods.count)
    private var errors = [UInt64](repeating: 0, count: Self.codes.count)

    private static let methods: [STUNMethod] = [
        .binding, .allocate, .refresh, .createPermission, .channelBind, .connect, .connectionBind,
    ]
    private static let codes: [ErrorCode] = [
        .tryAlternate, .badRequest, .unauthenticated, .forbidden, .mobilityForbidden, .unknownAttribute,
        .allocationMismatch, .staleNonce,
        .addressFamilyNotSupported, .wrongCredentials, .unsupportedTransportProtocol, .peerAddressFamilyMismatch,
        .connectionAlreadyExists, .connectionTimeoutOrFailure, .allocationQuotaReached, .serverError,
        .insufficientCapacity,
    ]

    mutating func countDrop(_ reason: TURNServerDrop) { drops.count(reason) }

    mutating func countRequest(_ method: STUNMethod) {
        if let index = Self.methods.firstIndex(of: method) { requests[index] &+= 1 }
    }

    mutating func countError(_ code: ErrorCode) {
        if let index = Self.codes.firstIndex(of: code) { errors[index] &+= 1 }
    }

    var dropCounts: [(name: String, count: UInt64)] { drops.all }

    var requestCounts: [(name: String, count: UInt64)] {
        Self.methods.indices.map { (Self.methods[$0].description, requests[$0]) }
    }

    var errorCounts: [(code: Int, count: UInt64)] {
        Self.codes.indices.map { (Int(Self.codes[$0].rawValue), errors[$0]) }
    }
}
