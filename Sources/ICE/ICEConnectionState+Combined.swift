/// The states of several transports as one, for a connection that has more than one.
extension ICEConnectionState {
    /// The state of a whole connection (W3C webrtc-pc §5.6.4 `RTCIceConnectionState`; ice 163).
    ///
    /// The tests stand in the order of the text; a connection without transports is new.
    public static func combined(_ states: some Collection<ICEConnectionState>, isClosed: Bool = false) -> Self {
        if isClosed { return .closed }
        if states.contains(.failed) { return .failed }
        if states.contains(.disconnected) { return .disconnected }
        if states.allSatisfy({ $0 == .new || $0 == .closed }) { return .new }
        if states.contains(where: { $0 == .new || $0 == .checking }) { return .checking }
        if states.allSatisfy({ $0 == .completed || $0 == .closed }) { return .completed }
        return .connected
    }
}
