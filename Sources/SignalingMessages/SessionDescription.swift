/// A session description as a browser's `RTCSessionDescription` has it.
public struct SessionDescription: Hashable, Sendable {
    /// What a description is in the offer/answer exchange (RFC 8829 §3.2).
    public enum Kind: String, Hashable, Sendable, CaseIterable, Codable {
        /// An offer.
        case offer
        /// A final answer.
        case answer
        /// A provisional answer.
        case pranswer
        /// A step back to the last stable state; the text is empty.
        case rollback
    }

    /// What the description is.
    public var type: Kind
    /// The text (RFC 8866), which the server does not read.
    public var sdp: String

    /// Makes a description.
    public init(type: Kind, sdp: String) {
        self.type = type
        self.sdp = sdp
    }
}

extension SessionDescription: Codable {
    private enum CodingKeys: String, CodingKey { case type, sdp }

    /// Reads a description; only that of a rollback may lack its text.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        type = try fields.decode(Kind.self, forKey: .type)
        sdp =
            try type == .rollback
            ? fields.decodeIfPresent(String.self, forKey: .sdp) ?? "" : fields.decode(String.self, forKey: .sdp)
    }

    /// Writes both fields.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(type, forKey: .type)
        try fields.encode(sdp, forKey: .sdp)
    }
}

/// An ICE candidate as a browser's `RTCIceCandidateInit` has it (RFC 8838 §9).
public struct TrickledCandidate: Hashable, Sendable, Codable {
    /// The candidate attribute's text (RFC 8839 §5.1); empty for end-of-candidates of one media section.
    public var candidate: String
    /// The media section's identification tag, if known.
    public var sdpMid: String?
    /// The media section's index, if known.
    public var sdpMLineIndex: UInt16?
    /// The ICE generation that the candidate belongs to, if known.
    public var usernameFragment: String?

    /// Makes a candidate.
    public init(candidate: String, sdpMid: String?, sdpMLineIndex: UInt16?, usernameFragment: String?) {
        self.candidate = candidate
        self.sdpMid = sdpMid
        self.sdpMLineIndex = sdpMLineIndex
        self.usernameFragment = usernameFragment
    }
}

extension TrickledCandidate {
    private enum CodingKeys: String, CodingKey { case candidate, sdpMid, sdpMLineIndex, usernameFragment }

    /// Writes all four fields, unknown ones as `null`, so that a browser takes the object as it is.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(candidate, forKey: .candidate)
        try fields.encode(sdpMid, forKey: .sdpMid)
        try fields.encode(sdpMLineIndex, forKey: .sdpMLineIndex)
        try fields.encode(usernameFragment, forKey: .usernameFragment)
    }
}
