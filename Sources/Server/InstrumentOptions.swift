import CommandLineSupport
import Crypto
import Instruments
import NetTypes

/// What the commands that talk to a server have in common.
enum InstrumentOptions {
    /// The options about the server's certificate.
    static let certificate: (heading: String, options: [OptionSpecification]) = (
        "Over TLS",
        [
            OptionSpecification("ca", "FILE", help: "certificates to trust, as PEM, in place of the system's"),
            OptionSpecification("insecure", help: "trust any certificate: for tests only"),
        ]
    )

    /// The TLS context that the options ask for; `nil` without TLS.
    static func context(
        _ arguments: ParsedArguments,
        _ transport: TransportProtocol,
        protocolName: String
    ) throws(UsageError) -> TLSContext? {
        guard transport == .tls else { return nil }
        var trust = ClientTrust.system
        if let path = arguments.text("ca") {
            guard let bytes = try PrivateFile.read(path) else { throw UsageError("There is no file '\(path)'.") }
            trust = .roots(pem: String(decoding: bytes, as: UTF8.self))
        }
        if arguments.has("insecure") { trust = .anything }
        do throws(CryptoError) {
            return try TLSContext(clientTrust: trust, applicationProtocols: [protocolName])
        } catch {
            throw UsageError("TLS cannot be used: \(error).")
        }
    }

    /// The server with its address.
    static func target(
        _ host: String,
        _ port: UInt16,
        _ transport: TransportProtocol,
        _ context: TLSContext?
    ) throws(UsageError) -> ServerTarget {
        do throws(InstrumentError) {
            return try ServerTarget.find(host, port: port, transport, tls: context)
        } catch {
            throw sentence(error)
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
