import Crypto
import Diagnostics
import NetTypes

/// What `floe serve` prints when it is ready: where to go, what it hands out and why, and what is not safe.
struct StartReport {
    /// The whole text.
    let text: String

    init(
        _ options: ServeOptions,
        _ state: StateDirectory,
        _ identity: Identity,
        _ addressing: RelayAddressing,
        _ machine: Machine,
        now: UInt64
    ) {
        var rows: [(String, String)] = []
        rows += Self.pages(options, addressing)
        var ports = "UDP and TCP \(options.turnPort)"
        let secure = [options.turnsPort, options.httpsPort].filter { $0 != 0 }
        if let first = secure.first { ports += ", TLS \(first)" }
        if let second = secure.dropFirst().first, second != secure[0] { ports += " and \(second)" }
        if options.dtlsPort != 0 { ports += ", DTLS \(options.dtlsPort)" }
        rows.append(("STUN and TURN", ports))
        for (index, choice) in addressing.choices.enumerated() {
            let local = choice.local == choice.external ? "" : " (local \(choice.local))"
            let range =
                index == 0 ? ", UDP ports \(options.relayPorts.lowerBound)-\(options.relayPorts.upperBound)" : ""
            rows.append((index == 0 ? "Relays from" : "", "\(choice.external)\(local), \(choice.reason)\(range)"))
        }
        rows.append(("Certificate", "SHA-256 \(identity.fingerprintSHA256)"))
        let end = CivilTime(unixSeconds: UInt64(clamping: identity.notAfter)).rfc3339.prefix(10)
        rows.append(("", "\(options.certificates.first?.chain ?? state.certificatePath), good until \(end)"))
        rows.append(("State", state.path))
        let width = 16
        var text = "Floe \(Floe.version) is ready.\n\n"
        for (name, value) in rows {
            text += "  " + name + String(repeating: " ", count: width - name.count) + value + "\n"
        }
        text += "\n"
        for warning in Self.warnings(options, identity, addressing, now: now) { text += "Warning: \(warning)\n" }
        self.text = text
    }

    private static func pages(_ options: ServeOptions, _ addressing: RelayAddressing) -> [(String, String)] {
        var urls: [(String, String)] = []
        if options.httpsPort != 0 {
            let port = options.httpsPort == 443 ? "" : ":\(options.httpsPort)"
            let hosts =
                options.publicHost.map { [$0] }
                ?? addressing.choices.map { choice in
                    choice.external.family == .ipv4 ? "\(choice.external)" : "[\(choice.external)]"
                }
            let isLocal = options.publicHost == nil && addressing.choices.allSatisfy { $0.external.isLoopback }
            let note =
                options.certificates.isEmpty
                ? "from \(isLocal ? "this machine" : "other machines") (the browser asks about the certificate)" : ""
            urls += hosts.enumerated().map { ("https://\($1)\(port)/", $0 == 0 ? note : "") }
        }
        if options.httpPort != 0 { urls.append(("http://localhost:\(options.httpPort)/", "on this machine")) }
        let width = (urls.map(\.0.count).max() ?? 0) + 3
        return urls.enumerated().map { index, url in
            let gap = url.1.isEmpty ? "" : String(repeating: " ", count: width - url.0.count)
            return (index == 0 ? "Call page" : "", url.0 + gap + url.1)
        }
    }

    private static func warnings(
        _ options: ServeOptions,
        _ identity: Identity,
        _ addressing: RelayAddressing,
        now: UInt64
    ) -> [String] {
        var warnings = addressing.warnings
        if let warning = LookupSetup.warning(options) { warnings.append(warning) }
        for prefix in options.allowedPeers {
            warnings.append(
                "Clients may relay to \(prefix) (--allow-peer): whatever listens there is within their reach."
            )
        }
        if options.showsSecrets {
            warnings.append(
                "Passwords or keys on the command line can be read by every user of this machine (ps): see "
                    + "--user-file, --api-key-file and --secret-file."
            )
        }
        if options.logAddresses == .full { warnings.append("Clients' addresses are logged in full (--log-addresses).") }
        for prefix in options.metricsFrom where prefix.length == 0 {
            warnings.append("Everybody can read the metrics (--metrics-from \(prefix)).")
        }
        if identity.isExpired(at: Int64(now)) {
            warnings.append("The certificate has expired: browsers will refuse it.")
        }
        if identity.isNotYetValid(at: Int64(now)) {
            warnings.append("The certificate is not valid yet: is the clock right?")
        }
        return warnings
    }
}
