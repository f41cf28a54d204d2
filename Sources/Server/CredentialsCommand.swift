import CommandLineSupport
import EventLoop
import FoundationEssentials
import Signaling
import SignalingMessages

/// The command `credentials`: mints ephemeral TURN credentials for any WebRTC application.
enum CredentialsCommand {
    static let specification = CommandSpecification(
        "credentials",
        "Mint TURN credentials that last for a while, and print them as an iceServers JSON.",
        [
            (
                "For whom",
                [
                    OptionSpecification(
                        "host",
                        "HOST",
                        standard: "localhost",
                        help: "name or address that clients reach the server by"
                    ),
                    OptionSpecification(
                        "user",
                        "ID",
                        standard: "user",
                        help: "whose credentials these are: quotas count by it"
                    ),
                    OptionSpecification("ttl", "SECONDS", standard: "86400", help: "how long they last"),
                ]
            ),
            (
                "Of which server",
                [
                    OptionSpecification(
                        "state",
                        "DIRECTORY",
                        help: "the server's state directory, which has the secret"
                    ),
                    OptionSpecification("secret", "SECRET", help: "the secret itself, for a server elsewhere"),
                    OptionSpecification("turn-port", "PORT", standard: "3478", help: "its port for UDP and TCP"),
                    OptionSpecification("turns-port", "PORT", standard: "none", help: "its port for TLS"),
                ]
            ),
        ]
    )

    private struct Output: Encodable {
        let iceServers: [ICEServer]
        let ttlSeconds: UInt32
    }

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let secret: String
        if let given = arguments.text("secret") {
            secret = given
        } else {
            secret = try StateDirectory.existingSecret(arguments.text("state"))
        }
        guard secret.utf8.count >= 8 else { throw UsageError("'--secret' takes at least 8 characters.") }
        let port = try arguments.number("turn-port", in: 1...65535).map(UInt16.init) ?? 3478
        let tlsPort = try arguments.number("turns-port", in: 1...65535).map(UInt16.init)
        let ttl = try arguments.number("ttl", in: 60...31_536_000) ?? 86400
        guard let host = try WebSetup.host(arguments.text("host") ?? "localhost", option: "--host") else { return 2 }
        let minter = ICEServersMinter(
            secret: secret,
            ttlSeconds: UInt32(ttl),
            publicHost: host,
            endpoints: .init(udpPort: port, tcpPort: port, tlsPort: tlsPort)
        )
        let list: ICEServerList
        do throws(ICEServersError) {
            list = try minter.mint(
                userID: arguments.text("user") ?? "user",
                host: nil,
                unixSeconds: WallClock.unixSeconds()
            )
        } catch {
            throw UsageError("\(error)")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(Output(iceServers: list.iceServers, ttlSeconds: list.ttlSeconds)) else {
            throw UsageError("The credentials cannot be written as JSON.")
        }
        Console.print(String(decoding: json, as: UTF8.self) + "\n")
        return 0
    }
}
