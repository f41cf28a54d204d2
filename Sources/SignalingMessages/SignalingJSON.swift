import FoundationEssentials

/// All field names of the protocol.
enum Field: String, CodingKey {
    case type, version, seq, ack, room, name, session, to, from, description, candidate, id, peer, peers, reason, code
    case message, replay, iceServers, ttlSeconds, heartbeatSeconds, limits, away
}

/// The way between JSON text and messages, shared by both directions.
enum SignalingJSON {
    // Foundation declares both classes Sendable; nothing changes their options after this.
    private static let encoder: JSONEncoder = {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        return encoder
    }()
    private static let decoder = JSONDecoder()

    /// Sequence numbers and other integers stay within what a browser's numbers hold exactly.
    static let greatestInteger: UInt64 = 1 &<< 53 &- 1

    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws(SignalingDecodeError) -> Value {
        do {
            return try decoder.decode(type, from: Data(text.utf8))
        } catch {
            throw SignalingDecodeError(error)
        }
    }

    static func encode(_ value: some Encodable) -> String {
        // Text and integers only: there is no value that JSON cannot hold.
        guard let data = try? encoder.encode(value) else { preconditionFailure("a signaling message without JSON") }
        return String(decoding: data, as: UTF8.self)
    }
}

extension KeyedDecodingContainer<Field> {
    func decode<Value: Decodable>(_ field: Field) throws -> Value { try decode(Value.self, forKey: field) }

    /// An integer of 0 (or `least`) to 2^53 - 1, or `nil` if the field is missing or `null`.
    func integerIfPresent(_ field: Field, atLeast least: UInt64 = 0) throws -> UInt64? {
        guard let value = try decodeIfPresent(UInt64.self, forKey: field) else { return nil }
        guard value >= least, value <= SignalingJSON.greatestInteger else {
            throw SignalingDecodeError.badValue(field: field.rawValue)
        }
        return value
    }

    func integer(_ field: Field, atLeast least: UInt64 = 0) throws -> UInt64 {
        guard let value = try integerIfPresent(field, atLeast: least) else {
            throw SignalingDecodeError.missingField(field.rawValue)
        }
        return value
    }

    func checkVersion() throws {
        guard try decode(Int.self, forKey: .version) == signalingVersion else {
            throw SignalingDecodeError.unsupportedVersion
        }
    }

    /// A candidate, or `nil` for `null`; the field must be there.
    func candidate() throws -> TrickledCandidate? {
        guard contains(.candidate) else { throw SignalingDecodeError.missingField(Field.candidate.rawValue) }
        return try decodeIfPresent(TrickledCandidate.self, forKey: .candidate)
    }
}
