import CommandLineSupport
import Crypto
import EventLoop
import Instruments
import NetTypes
import Resolution
import STUN
import TURN

/// What the commands that talk to a server have in common.
enum InstrumentOptions {
    /// The options about who we are.
    static let credentials: (heading: String, options: [OptionSpecification]) = (
        "Credentials",
        [
            OptionSpecification("user", "NAME", help: "user name; with a secret, the user's id (floe)"),
            OptionSpecification("password", "PASSWORD", help: "the user's password"),
            OptionSpecification("secret", "SECRET", help: "the secret that server and call services share"),
        ]
    )

    /// The options about the server's certificate.
    static let certificate: (heading: String, options: [OptionSpecification]) = (
        "Over TLS and DTLS",
        [
            OptionSpecification("ca", "FILE", help: "certificates to trust, as PEM, in place of the system's"),
            OptionSpecification("insecure", help: "trust any certificate: for tests only"),
        ]
    )

    /// The context of TLS or DTLS that the options ask for; `nil` without either.
    static func context(
        _ arguments: ParsedArguments,
        _ transport: TransportProtocol,
        protocolName: String
    ) throws(UsageError) -> TLSChoice.Context? {
        guard transport.isSecure else { return nil }
        let trust = try trust(arguments)
        do throws(CryptoError) {
            if transport == .dtls {
                return .dtls(try DTLSContext(clientTrust: trust, applicationProtocols: [protocolName]))
            }
            return .tls(try TLSContext(clientTrust: trust, applicationProtocols: [protocolName]))
        } catch {
            throw UsageError("TLS cannot be used: \(error).")
        }
    }

    /// Which certificates the options trust.
    static func trust(_ arguments: ParsedArguments) throws(UsageError) -> ClientTrust {
        if arguments.has("insecure") { return .anything }
        guard let path = arguments.text("ca") else { return .system }
        guard let bytes = try PrivateFile.read(path) else { throw UsageError("There is no file '\(path)'.") }
        return .roots(pem: String(decoding: bytes, as: UTF8.self))
    }

    /// The server with its address: of several, the one that answers first.
    static func target(_ query: ServerQuery, _ context: TLSChoice.Context?) throws(UsageError) -> ServerTarget {
        try targets(query, context).first
    }

    /// The servers of a name, the one that answers first in front.
    static func targets(
        _ query: ServerQuery,
        _ context: TLSChoice.Context?
    ) throws(UsageError) -> (first: ServerTarget, others: [ServerTarget]) {
        do throws(InstrumentError) {
            let found = try ServerTarget.find(query, tls: context)
            guard let first = try ServerRace(found).winner() else {
                throw InstrumentError("the name '\(query.host.name)' has no address")
            }
            return (first, found.filter { $0.address != first.address })
        } catch {
            throw sentence(error)
        }
    }

    /// The user name and password that the options give.
    static func credentials(_ arguments: ParsedArguments, for command: String) throws(UsageError) -> (String, String) {
        switch (arguments.text("user"), arguments.text("password"), arguments.text("secret")) {
        case (let user?, let password?, nil): return (user, password)
        case (let user, nil, let secret?):
            do throws(CredentialError) {
                let minted = try RESTSecret(Array(secret.utf8))
                    .mint(userID: user ?? "floe", expiryUnixSeconds: WallClock.unixSeconds() + 3600)
                return (minted.username, minted.password)
            } catch {
                throw UsageError("'--secret' cannot be used: \(error).")
            }
        case (_, _?, _?): throw UsageError("'--password' and '--secret' exclude each other: leave one out.")
        case (_, nil, nil), (nil, _?, nil):
            throw UsageError("'\(command)' needs credentials: --user NAME --password PASSWORD, or --secret SECRET.")
        }
    }

    static func sentence(_ error: InstrumentError) -> UsageError {
        let text = error.description
        return UsageError(text.prefix(1).uppercased() + text.dropFirst() + ".")
    }

    /// `0.42 ms`.
    static func milliseconds(_ span: TimeSpan) -> String {
        let hundredths = (span.nanoseconds + 5_000) / 10_000
        let fraction = hundredths % 100
        return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) ms"
    }

    /// Least, middle and greatest of some times.
    static func spread(_ spans: [TimeSpan]) -> String {
        let sorted = spans.sorted()
        guard let least = sorted.first, let greatest = sorted.last else { return "none" }
        let middle = sorted[sorted.count / 2]
        return "\(milliseconds(least)) least, \(milliseconds(middle)) median, \(milliseconds(greatest)) greatest"
    }

    /// Lines with their names in one column.
    static func table(_ rows: [(String, String)]) -> String {
        rows.map { name, value in
            "  " + name + String(repeating: " ", count: max(1, 18 - name.count)) + value + "\n"
        }.joined()
    }
}
