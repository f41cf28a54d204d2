import CommandLineSupport
import Connectivity
import Crypto
import EventLoop
import Glibc
import ICE
import ICETransport
import Instruments
import NetTypes
import PeerTools
import STUN
import TURN

/// How a command was told to meet its peer.
struct PeerPlan: Sendable {
    private enum Way {
        /// `invitation` is what the other end is to run, if it has yet to be told.
        case server(String, room: String, invitation: String?)
        case offer
        case answer(String)
        case nobody
    }

    private let way: Way
    private let base: ICESessionConfiguration
    private let codeTo: String?
    private let codeFrom: String?
    /// The command that the other end runs.
    private let command: String
    /// The server that was named, by an option or in the code.
    let server: String?
    /// For the server's pages and its signaling.
    let webTLS: TLSContext
    /// For TURN servers.
    let turnTLS: TLSContext
    /// For TURN servers over UDP.
    let turnDTLS: DTLSContext
    /// What the two ends know and the server does not.
    let secret: String

    var loopOptions: ICELoopOptions {
        var options = ICELoopOptions()
        options.tls = turnTLS
        options.dtls = turnDTLS
        return options
    }

    /// What is gathered where there is nobody to meet.
    var configuration: ICESessionConfiguration { base }

    /// Whether there is nobody to meet.
    var isAlone: Bool {
        if case .nobody = way { return true }
        return false
    }

    /// Reads the options; `code` is the one that follows `command` and `codeOption`, `new` for one that is to be made.
    init(
        _ arguments: ParsedArguments,
        code: String?,
        command: String,
        codeOption: String = ""
    ) throws(UsageError) {
        let trust = try InstrumentOptions.trust(arguments)
        do throws(CryptoError) {
            webTLS = try TLSContext(clientTrust: trust, applicationProtocols: ["http/1.1"])
            turnTLS = try TLSContext(clientTrust: trust, applicationProtocols: ["stun.turn"])
            turnDTLS = try DTLSContext(clientTrust: trust, applicationProtocols: ["stun.turn"])
        } catch {
            throw UsageError("TLS cannot be used: \(error).")
        }
        codeTo = arguments.text("code-to")
        codeFrom = arguments.text("code-from")
        base = try Self.configuration(arguments)
        self.command = command
        let isOffer = arguments.has("offer")
        let answer = arguments.text("answer")
        // A code may begin with its server: URL#CODE.
        let parts = code?.split(separator: "#", maxSplits: 1).map(String.init) ?? []
        let named = arguments.text("server") ?? (parts.count == 2 ? parts[0] : nil)
        server = named
        guard !isOffer || answer == nil, code == nil || !isOffer && answer == nil else {
            throw UsageError("Say in one way how to meet the other end: by a code, with --offer or with --answer.")
        }
        if isOffer || answer != nil {
            way = answer.map { .answer($0) } ?? .offer
            secret = ""
        } else if let given = parts.last {
            guard let named else { throw UsageError("The code needs its server: --server URL, or URL#CODE.") }
            var entropy = Entropy.system
            let code = given == "new" ? Self.newCode(&entropy) : given
            // The first half names the room; the rest stays between the two ends.
            let halves = code.split(separator: "-", maxSplits: 1)
            guard halves.count == 2, halves.allSatisfy({ $0.count >= 6 }) else {
                throw UsageError("'\(code)' is no code: it looks like \(Self.newCode(&entropy)).")
            }
            let trust = arguments.has("insecure") ? " --insecure" : ""
            let invitation = given == "new" ? "\(command) \(codeOption)'\(named)#\(code)'\(trust)" : nil
            way = .server(named, room: "floe-" + halves[0], invitation: invitation)
            secret = String(halves[1])
        } else {
            way = .nobody
            secret = ""
        }
    }

    /// 40 bits for the room and 80 for the secret, in letters and digits that are not mistaken for each other.
    private static func newCode(_ entropy: inout Entropy) -> String {
        let letters = Array("abcdefghjkmnpqrstuvwxyz23456789a")
        let bytes = entropy.bytes(24)
        let word = String(bytes.map { letters[Int($0 & 31)] })
        return word.prefix(8) + "-" + word.dropFirst(8)
    }

    private static func configuration(_ arguments: ParsedArguments) throws(UsageError) -> ICESessionConfiguration {
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesLoopback = arguments.has("loopback")
        configuration.usesTCP = arguments.has("tcp")
        configuration.usesPortMapping = !arguments.has("no-mapping")
        if arguments.has("conceal") { configuration.hostAddresses = .concealed }
        configuration.isContinual = false
        if arguments.has("relay") { configuration.policy = .relay }
        var uris: [TURNURI] = []
        do throws(URIError) {
            for text in arguments.texts("stun") { configuration.stunServers.append(try STUNURI(text)) }
            for text in arguments.texts("turn") { uris.append(try TURNURI(text)) }
        } catch {
            throw UsageError("A server's URI is wrong: \(error).")
        }
        guard !uris.isEmpty else { return configuration }
        guard let user = arguments.text("user"), let password = arguments.text("password") else {
            throw UsageError("A TURN server needs --user and --password.")
        }
        configuration.turnServers = [Connectivity.TURNServer(uris, username: user, password: password)]
        return configuration
    }

    /// Looks at this machine, and at the servers that are known or that the signaling server gives.
    func examine(_ loop: ICELoop) async throws -> Examination {
        var configuration = base
        var webServer: URIHost?
        if let server {
            webServer = try SignalingClient.host(of: server)
            var entropy = Entropy.system
            // A room of its own, only to be told the ICE servers and their credentials.
            let room = "floe-" + String(entropy.bytes(8).map { String($0, radix: 16) }.joined())
            let client = try SignalingClient(server: server, room: room, name: "floe", tls: webTLS)
            do throws(PeerError) {
                configuration.use(try await Meetings.iceServers(client))
            } catch {
                Console.printError(
                    "floe: no signaling at \(server): \(error); the usual ports of STUN and TURN are tried"
                )
            }
            await client.end()
        }
        let examiner = Examiner(
            configuration,
            loop,
            contexts: (.tls(turnTLS), .dtls(turnDTLS)),
            webServer: webServer
        )
        return try await examiner.run()
    }

    func meet(_ loop: ICELoop) async throws -> Meeting {
        switch way {
        case .nobody: throw PeerError("there is nobody to meet")
        case .server(let url, let room, let invitation):
            let client = try SignalingClient(server: url, room: room, name: "floe", tls: webTLS)
            do {
                return try await Meetings.join(client, loop) {
                    Console.printError(
                        invitation.map { "on the other machine: \($0)" }
                            ?? "nobody is there yet with this code: waiting"
                    )
                } configure: { role, servers in
                    var configuration = base
                    configuration.ice.role = role
                    configuration.use(servers)
                    return configuration
                }
            } catch {
                await client.end()
                throw error
            }
        case .offer:
            return try await Meetings.offer(loop, patient(.controlling)) {
                show($0, "on the other machine: \(command) --answer \($0.text)")
            } answer: {
                try await readAnswer()
            }
        case .answer(let text):
            let code = text.hasPrefix("@") ? try Self.read(String(text.dropFirst())) : text
            return try await Meetings.answer(PeerCode(code), loop, patient(.controlled)) {
                show($0, "paste this code to the other machine, which waits for a quarter of an hour:\n\($0.text)")
            }
        }
    }

    /// A person carries the answer: that may take minutes, in which NATs forget what the first checks have opened.
    private func patient(_ role: ICERole) -> ICESessionConfiguration {
        var configuration = base
        configuration.ice.role = role
        configuration.ice.patience = .seconds(900)
        configuration.ice.recheckInterval = .seconds(20)
        return configuration
    }

    private func show(_ code: PeerCode, _ words: String) {
        Console.printError(words)
        guard let codeTo else { return }
        // Whole or not at all: somebody may wait for the file. What was left there is not written through, as it may be a
        // link of somebody else's. The paths live through the calls.
        _ = unsafe unlink(codeTo + ".part")
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = unsafe open(codeTo + ".part", flags, 0o600)
        guard descriptor >= 0 else { return Console.printError("floe: '\(codeTo)' cannot be written") }
        Console.write(code.text + "\n", to: descriptor)
        close(descriptor)
        _ = unsafe rename(codeTo + ".part", codeTo)
    }

    private func readAnswer() async throws -> PeerCode {
        if let codeFrom {
            while true {
                if let text = try? Self.read(codeFrom) { return try PeerCode(text) }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        let terminal = Descriptor(owning: unsafe open("/dev/tty", O_RDONLY | O_CLOEXEC))
        guard terminal.number >= 0 else {
            throw PeerError(
                "there is no terminal to paste the other end's code to: give its file with --code-from FILE"
            )
        }
        Console.printError("paste the other end's code:")
        var lines = PastedCode()
        var isHinted = false
        while true {
            guard let line = try Self.line(terminal.number) else { throw PeerError("no code was given") }
            switch lines.take(line) {
            case .more:
                guard lines.hasBegun, !isHinted else { continue }
                isHinted = true
                Console.printError("(the code goes on in the next line; an empty line begins anew)")
            case .code(let code): return code
            case .wrong(let words): Console.printError("\(words). Paste the other end's code:")
            }
        }
    }

    /// The next line of a terminal; `nil` at its end.
    ///
    /// - Throws: `CancellationError` if the task is cancelled while nobody types.
    private static func line(_ terminal: Int32) throws -> String? {
        var entry = pollfd(fd: terminal, events: Int16(POLLIN), revents: 0)
        // One entry, in a variable that lives through the call.
        while unsafe poll(&entry, 1, 200) <= 0 { try Task.checkCancellation() }
        // The kernel writes at most so many bytes into the array's memory: a terminal has no longer lines.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            count = max(0, unsafe Glibc.read(terminal, buffer.baseAddress, 4096))
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    private static func read(_ path: String) throws -> String {
        let file = Descriptor(owning: unsafe open(path, O_RDONLY | O_CLOEXEC))
        guard file.number >= 0 else { throw PeerError("'\(path)' cannot be read: \(SystemError.text(for: errno))") }
        var bytes: [UInt8] = []
        while bytes.count < 65_536 {
            // The kernel writes at most so many bytes into the array's memory.
            let part = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
                count = max(0, unsafe Glibc.read(file.number, buffer.baseAddress, 4096))
            }
            guard !part.isEmpty else { break }
            bytes += part
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
