import Bytes
public import Crypto
import EventLoop
import HTTP
import NetTypes
public import STUN
public import SignalingMessages
import Transport
import WebSocket

/// A client of `floe serve`'s signaling (Documentation/Signaling.md), on a thread of its own.
///
/// It joins a room and stays until `leave`. It does not resume: a tool that loses its server says so.
public final class SignalingClient: Sendable {
    /// What the server has said.
    public let messages: AsyncStream<ServerMessage>
    private let outgoing: Mailbox<ClientMessage?>
    /// Ends with the thread.
    private let life: AsyncStream<Void>

    /// Begins to connect; `messages` ends when the connection does, after an error if it was not `leave`.
    ///
    /// - Throws: `PeerError` if the URL is none, or its host has no address.
    public init(server url: String, room: String, name: String, tls: TLSContext) throws(PeerError) {
        let place = try SignalingPlace(url)
        let (messages, continuation) = AsyncStream<ServerMessage>.makeStream(bufferingPolicy: .bufferingNewest(1024))
        self.messages = messages
        let (life, end) = AsyncStream<Void>.makeStream()
        self.life = life
        do throws(SystemError) {
            let outgoing = try Mailbox<ClientMessage?>(limit: 1024)
            self.outgoing = outgoing
            _ = outgoing.push(.join(room: room, name: name))
            _ = try LoopThread(name: "floe-signal") {
                let failure = SignalingThread.run(place, place.isSecure ? tls : nil, outgoing, continuation)
                if let failure {
                    continuation.yield(.error(.badMessage, message: failure.description, sequence: nil))
                }
                continuation.finish()
                end.finish()
            }
        } catch {
            throw PeerError("\(error)")
        }
    }

    /// A client that others play: what the server says, and what is said to it.
    init(_ messages: AsyncStream<ServerMessage>, _ outgoing: Mailbox<ClientMessage?>) {
        self.messages = messages
        self.outgoing = outgoing
        life = AsyncStream { $0.finish() }
    }

    deinit { leave() }

    /// Host and port of a server's URL.
    ///
    /// - Throws: `PeerError` if it is none.
    public static func host(of url: String) throws(PeerError) -> URIHost {
        let place = try SignalingPlace(url)
        return URIHost(place.host, port: place.port)
    }

    /// Says something to the server.
    public func send(_ message: ClientMessage) { _ = outgoing.push(message) }

    /// Ends the session and the connection.
    public func leave() {
        _ = outgoing.push(.leave)
        _ = outgoing.push(nil)
    }

    /// Ends the session and the connection, and waits for that, but little longer than the two seconds of a farewell.
    ///
    /// A process that ends at once would leave a session behind, which the server keeps for its return; so it waits to be let
    /// in, too, if it has asked for that.
    public func end() async {
        leave()
        let life = life
        // A task of its own waits also where the caller was cancelled.
        await Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in life {} }
                group.addTask {
                    // The farewell's last frame is sent when its time is over.
                    try? await Task.sleep(for: .milliseconds(SignalingThread.farewellTime.milliseconds + 300))
                }
                await group.next()
                group.cancelAll()
            }
        }.value
    }
}

/// Where a signaling server is.
struct SignalingPlace: Sendable {
    let isSecure: Bool
    let host: String
    let port: UInt16

    var authority: String { (host.contains(":") ? "[\(host)]" : host) + ":\(port)" }

    /// Reads `https://HOST[:PORT]`, also with `http`, `wss`, `ws` or nothing in front; a path is passed over.
    init(_ url: String) throws(PeerError) {
        let lower = url.lowercased()
        let schemes: [(String, Bool)] = [("https://", true), ("wss://", true), ("http://", false), ("ws://", false)]
        let scheme = schemes.first { lower.hasPrefix($0.0) }
        isSecure = scheme?.1 ?? true
        let rest = url.dropFirst(scheme?.0.count ?? 0).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        var name = String(rest)
        var port: UInt16 = isSecure ? (scheme == nil ? 8443 : 443) : 80
        if let address = IPAddress(name) {
            name = address.description
        } else if let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("]") {
            guard let number = UInt16(rest[rest.index(after: colon)...]) else {
                throw PeerError("'\(url)' is no server: the port is no number from 1 to 65535")
            }
            port = number
            name = String(rest[..<colon])
        }
        if name.hasPrefix("["), name.hasSuffix("]") { name = String(name.dropFirst().dropLast()) }
        guard !name.isEmpty else { throw PeerError("'\(url)' is no server: give it as https://HOST:PORT") }
        host = name
        self.port = port
    }
}
