import FoundationEssentials
import Signaling
import SignalingMessages

/// The answer of the TURN REST draft (draft-uberti-behave-turn-rest-00 §2.2).
struct RESTCredentialsAnswer: Encodable {
    let username: String
    let password: String
    let ttl: UInt32
    let uris: [String]

    /// The JSON for a user, whose id may be empty; `nil` if no ICE server can be named for the host.
    static func json(_ minter: ICEServersMinter, userID: String, host: String?, unixSeconds: UInt64) -> [UInt8]? {
        let id = userID.isEmpty ? "api" : userID
        guard let list = try? minter.mint(userID: id, host: host, unixSeconds: unixSeconds),
            let turn = list.iceServers.first(where: { $0.username != nil }),
            let username = turn.username, let password = turn.credential
        else { return nil }
        let answer = RESTCredentialsAnswer(
            username: username,
            password: password,
            ttl: list.ttlSeconds,
            uris: turn.urls
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(answer)).map { Array($0) }
    }
}
