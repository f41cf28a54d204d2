import FoundationEssentials

/// What is wrong with the text of a signaling message; fields are named by their path, as in `description.sdp`.
///
/// A path consists of names of the protocol and indices only: nothing that the sender chose is repeated.
public enum SignalingDecodeError: Error, Equatable, Sendable {
    /// The text is not JSON, or is nested too deeply.
    case notJSON
    /// The text is JSON, but not an object.
    case notAnObject
    /// A field that the message must have is not there.
    case missingField(String)
    /// A field has a value of another kind than its own, such as text for a number.
    case wrongKind(field: String)
    /// A field has a value that is not among the allowed ones.
    case badValue(field: String)
    /// The message's `type` is none of this direction.
    case unknownType
    /// The message's `version` is not one that this implementation speaks.
    case unsupportedVersion
}

extension SignalingDecodeError: CustomStringConvertible {
    /// A sentence for people.
    public var description: String {
        switch self {
        case .notJSON: "The message is not JSON, or is nested too deeply."
        case .notAnObject: "The message is not a JSON object."
        case .missingField(let field): "The message lacks the field \"\(field)\"."
        case .wrongKind(let field): "The field \"\(field)\" has a value of the wrong kind."
        case .badValue(let field): "The field \"\(field)\" has a value that is not allowed."
        case .unknownType: "The field \"type\" names no message that may be sent in this direction."
        case .unsupportedVersion: "The only protocol version spoken here is \(signalingVersion)."
        }
    }
}

extension SignalingDecodeError {
    init(_ error: any Error) {
        if let known = error as? SignalingDecodeError {
            self = known
            return
        }
        switch error as? DecodingError {
        case .keyNotFound(let key, let context):
            self = .missingField(Self.path(context.codingPath + [key]))
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            self = context.codingPath.isEmpty ? .notAnObject : .wrongKind(field: Self.path(context.codingPath))
        case .dataCorrupted(let context):
            self = context.codingPath.isEmpty ? .notJSON : .badValue(field: Self.path(context.codingPath))
        default:
            self = .notJSON
        }
    }

    static func path(_ keys: [any CodingKey]) -> String {
        keys.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
    }
}
