import NetTypes
import Simulation

/// A program that does what the test says and keeps what it gets.
final class Probe: SimulatedProgram {
    struct Datagram: Equatable {
        let socket: SocketID
        let bytes: [UInt8]
        let from: SocketAddress
        let to: SocketAddress
        let ecn: ECNCodepoint
        let at: Instant
    }

    enum StreamEvent: Equatable {
        case connected
        case accepted(from: SocketAddress)
        case ended(StreamEnd)
    }

    var datagrams: [Datagram] = []
    var errors: [(destination: SocketAddress, reason: ICMPReason)] = []
    var answers: [NameAnswer] = []
    var signals: [[UInt8]] = []
    var streamEvents: [StreamID: [StreamEvent]] = [:]
    var streamBytes: [StreamID: [UInt8]] = [:]
    var streams: [StreamID] = []
    var others: [String] = []
    /// Whether each datagram is sent back to where it came from.
    var echoes = false
    /// Whether what comes over a stream is written back, and an end answered by one.
    var echoesStreams = false
    var alarm: Instant?
    var alarms: [Instant] = []

    var nextTimeout: Instant? { alarm }

    func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started: break
        case .datagram(let socket, let bytes, let peer, let local, let ecn):
            datagrams.append(
                Datagram(socket: socket, bytes: bytes, from: peer, to: local, ecn: ecn, at: host.now)
            )
            if echoes { try? host.send(bytes, to: peer, from: socket, source: local.ip) }
        case .unreachable(_, let destination, let reason): errors.append((destination, reason))
        case .connected(let stream):
            streams.append(stream)
            streamEvents[stream, default: []].append(.connected)
        case .accepted(let stream, _, let peer):
            streams.append(stream)
            streamEvents[stream, default: []].append(.accepted(from: peer))
        case .bytes(let stream, let bytes):
            streamBytes[stream, default: []] += bytes
            if echoesStreams { host.write(bytes, to: stream) }
        case .ended(let stream, let end):
            streamEvents[stream, default: []].append(.ended(end))
            if echoesStreams, end == .finished { host.finish(stream) }
        case .timeout:
            alarms.append(host.now)
            alarm = nil
        case .resolved(_, let answer): answers.append(answer)
        case .signal(let bytes, _): signals.append(bytes)
        case .interfacesChanged: others.append("interfaces")
        case .woke: others.append("woke")
        }
    }
}

/// A host with a probe.
struct Station {
    let host: SimulatedHost
    let probe: Probe

    init(_ host: SimulatedHost, echoes: Bool = false) {
        self.host = host
        probe = Probe()
        probe.echoes = echoes
        host.run(probe)
    }

    /// Opens a socket.
    func open(_ port: UInt16 = 0, on address: IPAddress? = nil) throws -> SocketID {
        var result = Result<SocketID, SocketFailure>.failure(.closed)
        host.perform(probe) { _, host in
            do throws(SocketFailure) { result = .success(try host.openUDP(on: address, port: port)) } catch {
                result = .failure(error)
            }
        }
        return try result.get()
    }

    func send(
        _ bytes: [UInt8],
        to destination: SocketAddress,
        from socket: SocketID,
        source: IPAddress? = nil,
        dontFragment: Bool = false,
        ecn: ECNCodepoint = .notCapable,
        timeToLive: UInt8 = 64
    ) throws {
        var result = Result<Void, SocketFailure>.success(())
        host.perform(probe) { _, host in
            do throws(SocketFailure) {
                try host.send(
                    bytes,
                    to: destination,
                    from: socket,
                    source: source,
                    ecn: ecn,
                    dontFragment: dontFragment,
                    timeToLive: timeToLive
                )
            } catch { result = .failure(error) }
        }
        try result.get()
    }

    func act<Value>(_ body: (HostContext) throws -> Value) throws -> Value {
        var result: Result<Value, any Error>?
        host.perform(probe) { _, host in result = Result { try body(host) } }
        guard let result else { throw SocketFailure.closed }
        return try result.get()
    }

    func address(_ port: UInt16, _ family: AddressFamily = .ipv4) throws -> SocketAddress {
        guard let ip = host.address(family) else { throw SocketFailure.addressNotAvailable }
        return SocketAddress(ip, port: port)
    }
}

func socketAddress(_ text: String) -> SocketAddress {
    guard let address = SocketAddress(text) else { preconditionFailure("'\(text)' is no address") }
    return address
}
