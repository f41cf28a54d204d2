import CommandLineSupport
import Conformance
import EventLoop
import NameResolver
import NetTypes
import Resolution
import STUN
import TURN
import Transport

extension ConformCommand {
    /// The server under test, as the command line describes it.
    static func target(_ arguments: ParsedArguments) throws(UsageError) -> ConformanceTarget {
        guard let operand = arguments.operand else {
            throw UsageError("'conform' needs a server: floe conform turn:HOST[:PORT] --user NAME --password PASSWORD")
        }
        let (host, address) = try server(operand)
        let accounts = try accounts(arguments)
        var peers = try arguments.values("peer-address", "an IP address", as: IPAddress.self)
        if peers.isEmpty { peers = try standardPeers(address) }
        var target = ConformanceTarget(address: address, account: accounts.first, peerAddresses: peers)
        target.otherAccount = accounts.other
        target.serverName = host
        target.secret = arguments.text("secret")
        target.realm = arguments.text("realm")
        if let path = arguments.text("token-file") {
            (target.grant, target.grantSeconds) = try AccessTokenFile.grant(path, option: "--token-file")
        }
        target.quota = try arguments.number("quota", in: 1...1000)
        target.otherClientAddress = try arguments.value("client-address", "an IP address")
        if let port = try arguments.number("tls", in: 1...65535) {
            target.tlsAddress = SocketAddress(address.ip, port: UInt16(port))
        }
        if let port = try arguments.number("dtls", in: 1...65535) {
            target.dtlsAddress = SocketAddress(address.ip, port: UInt16(port))
        }
        if let wait = try arguments.number("wait", in: 50...60_000) { target.answerTime = .milliseconds(UInt64(wait)) }
        return target
    }

    private static func server(_ operand: String) throws(UsageError) -> (host: String, SocketAddress) {
        var text = operand[...]
        for scheme in ["turn:", "stun:"] where text.hasPrefix(scheme) { text = text.dropFirst(scheme.count) }
        if let address = SocketAddress(String(text)), address.port > 0 { return (address.ip.description, address) }
        let bare = text.hasPrefix("[") && text.hasSuffix("]") ? text.dropFirst().dropLast() : text
        if let ip = IPAddress(text: bare) { return (ip.description, SocketAddress(ip, port: 3478)) }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first.map(String.init), !name.isEmpty,
            let port = parts.count > 1 ? UInt16(parts[1]) : 3478, port > 0
        else {
            throw UsageError("'\(operand)' is no TURN server: write turn:HOST or turn:HOST:PORT.")
        }
        let query = ServerQuery(STUNURI(URIHost(name, port: port)), over: .udp)
        do throws(ResolutionError) {
            guard let found = try ServerFinder.candidates(of: query).first else { throw .noAddress(name) }
            return (name, found.address)
        } catch {
            throw UsageError("\(error): check it, or give an IP address.")
        }
    }

    private static func accounts(
        _ arguments: ParsedArguments
    ) throws(UsageError) -> (first: ConformanceAccount, other: ConformanceAccount?) {
        var other: ConformanceAccount?
        if let text = arguments.text("other-user") {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                throw UsageError("'--other-user' takes NAME:PASSWORD.")
            }
            other = ConformanceAccount(username: parts[0], password: parts[1])
        }
        if let user = arguments.text("user") {
            guard let password = arguments.text("password") else { throw UsageError("'--user' needs '--password'.") }
            return (ConformanceAccount(username: user, password: password), other)
        }
        guard let secret = arguments.text("secret") else {
            throw UsageError("Nobody to allocate as: give --user and --password, or --secret.")
        }
        let minter: RESTSecret
        do throws(CredentialError) { minter = try RESTSecret(Array(secret.utf8)) } catch {
            throw UsageError("'--secret' cannot be used: \(error).")
        }
        let expiry = WallClock.unixSeconds() + 7200
        func mint(_ user: String) -> ConformanceAccount {
            let minted = minter.mint(userID: user, expiryUnixSeconds: expiry)
            return ConformanceAccount(username: minted.username, password: minted.password)
        }
        return (mint("conform"), other ?? mint("other"))
    }

    /// On one machine the server's own address is refused by a careful server, so peers get others of the loopback.
    private static func standardPeers(_ server: SocketAddress) throws(UsageError) -> [IPAddress] {
        if server.family == .ipv4, server.ip.isLoopback {
            return [0x7F00_0002, 0x7F00_0003].map { IPAddress(ipv4: $0) }
        }
        guard let source = NetworkInterfaces.source(toward: server.ip) else {
            throw UsageError("No route leads to \(server.ip): name an address of this host with --peer-address.")
        }
        return [source]
    }
}
