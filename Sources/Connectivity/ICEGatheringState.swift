/// How far the gathering of candidates is (W3C webrtc-pc `RTCIceGathererState`).
public enum ICEGatheringState: UInt8, Hashable, Sendable, CaseIterable {
    /// It has not begun.
    case new
    /// Candidates may still come in this generation.
    case gathering
    /// All steps have ended.
    case complete

    /// The state of a connection with several transports (W3C webrtc-pc §5.6.3 `RTCIceGatheringState`; ice 162).
    public static func combined(_ states: some Collection<ICEGatheringState>) -> Self {
        if states.contains(.gathering) { return .gathering }
        return !states.isEmpty && states.allSatisfy { $0 == .complete } ? .complete : .new
    }
}
