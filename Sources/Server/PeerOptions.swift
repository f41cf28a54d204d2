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
import Synchronization
import TURN

/// What the commands that meet a peer have in common.
enum PeerOptions {
    static let codes = [
        OptionSpecification("offer", help: "by codes: print one, and take the other end's answer"),
        OptionSpecification("answer", "CODE", help: "by codes: answer this one; @FILE reads it from a file"),
        OptionSpecification("code-to", "FILE", help: "write our code to a file too"),
        OptionSpecification("code-from", "FILE", help: "take the answer from a file, as soon as it is there"),
    ]

    static let path: (heading: String, options: [OptionSpecification]) = (
        "How to connect",
        [
            OptionSpecification("stun", "URI", repeats: true, help: "a STUN server, stun:HOST"),
            OptionSpecification("turn", "URI", repeats: true, help: "a TURN server, turn:HOST or turns:HOST"),
            OptionSpecification("user", "NAME", help: "the user name for the TURN servers"),
            OptionSpecification("password", "WORD", help: "the password for the TURN servers"),
            OptionSpecification("relay", help: "over TURN servers only"),
            OptionSpecification("tcp", help: "with TCP candidates too"),
            OptionSpecification("conceal", help: "show names of multicast DNS in place of this machine's addresses"),
            OptionSpecification("no-mapping", help: "ask no gateway to open a port"),
            OptionSpecification("loopback", help: "with loopback addresses too, for two ends on one machine"),
        ]
    )

    /// How long a command that is interrupted may take to tell its peer and its servers.
    private static let endingTime = TimeSpan.seconds(3)

    /// Runs something asynchronous to its end on the calling thread's behalf; errors become sentences and code 1.
    ///
    /// A signal cancels its task, so that the peer and the servers are told, and becomes 128 and its number; a second one
    /// ends without that.
    static func wait(_ body: @escaping @Sendable () async throws -> Int32) throws(UsageError) -> Int32 {
        do throws(SystemError) {
            let signals = try SignalWatcher()
            let ended = try Mailbox<Int32>(limit: 1)
            let task = Task {
                do {
                    _ = ended.push(try await body())
                } catch {
                    if !Task.isCancelled { Console.printError("floe: \(sentence(error))") }
                    _ = ended.push(1)
                }
            }
            let poller = try Poller()
            try poller.add(ended.descriptor, token: 0, interest: .read)
            try poller.add(signals.descriptor, token: 1, interest: .read)
            var events = PollEvents(capacity: 2)
            var codes: [Int32] = []
            var interruption: (code: Int32, end: Instant)?
            while codes.isEmpty {
                try poller.wait(until: interruption?.end, into: &events)
                ended.receive(into: &codes)
                while let signal = signals.next() {
                    if let interruption { return interruption.code }
                    interruption = (128 + signal.rawValue, MonotonicClock.now() + endingTime)
                    task.cancel()
                }
                if let interruption, MonotonicClock.now() >= interruption.end { return interruption.code }
            }
            return interruption?.code ?? codes[0]
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// An error as a sentence, with its full stop.
    static func sentence(_ error: any Error) -> String {
        let words = "\(error)"
        return words.hasSuffix(".") ? words : words + "."
    }

    /// `connected directly: 192.0.2.1:5000 to 198.51.100.2:6000`.
    static func pathLine(_ meeting: Meeting) async -> String {
        guard let report = await meeting.connection.report(), let isRelayed = report.isRelayed else {
            return "connected"
        }
        let local = report.selected?.local.map { "\($0) to " } ?? ""
        let remote = report.selected?.remote?.description ?? "a concealed address"
        return "connected \(isRelayed ? "over a relay" : "directly"): \(local)\(remote)"
    }
}

/// How a command was told to meet its peer.
struct PeerPlan: Sendable {
    private enum Way {
        case server(String, room: String)
        case offer
        case answer(String)
        case nobody
    }

    private let way: Way
    private let base: ICESessionConfiguration
    private let codeTo: String?
    private let codeFrom: String?
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

    /// Whether there is somebody to meet.
    var isAlone: Bool {
        if case .nobody = way { return true }
        return false
    }

    /// Reads the options; `code` is the one of `command` itself, `new` for one that is to be made.
    init(_ arguments: ParsedArguments, code: String?, command: String) throws(UsageError) {
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
            way = .server(named, room: "floe-" + halves[0])
            secret = String(halves[1])
            if given == "new" { Console.printError("on the other machine: \(command) '\(named)#\(code)'") }
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
        case .server(let url, let room):
            let client = try SignalingClient(server: url, room: room, name: "floe", tls: webTLS)
            do {
                return try await Meetings.join(client, loop) { role, servers in
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
                show($0)
            } answer: {
                try await readAnswer()
            }
        case .answer(let text):
            let code = text.hasPrefix("@") ? try Self.read(String(text.dropFirst())) : text
            return try await Meetings.answer(PeerCode(code), loop, patient(.controlled)) { show($0) }
        }
    }

    /// A person carries the answer: that may take minutes.
    private func patient(_ role: ICERole) -> ICESessionConfiguration {
        var configuration = base
        configuration.ice.role = role
        configuration.ice.patience = .seconds(900)
        return configuration
    }

    private func show(_ code: PeerCode) {
        Console.printError("code for the other end:\n\(code.text)")
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
        Console.printError("paste the other end's code:")
        return try PeerCode(try Self.read("/dev/tty", lines: 1))
    }

    private static func read(_ path: String, lines: Int = .max) throws -> String {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw PeerError("'\(path)' cannot be read: \(SystemError.text(for: errno))") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while bytes.count < 65_536, lines == .max || !bytes.contains(10) {
            var byte: UInt8 = 0
            // One byte, into a variable that lives through the call.
            guard unsafe Glibc.read(descriptor, &byte, 1) == 1 else { break }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
