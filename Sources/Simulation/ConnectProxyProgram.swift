import NetTypes

/// A proxy that makes TCP connections for its clients (HTTP CONNECT, RFC 9110 §9.3.6), and nothing else.
public final class ConnectProxyProgram: SimulatedProgram {
    private let port: UInt16
    private let allowedPorts: Set<UInt16>
    private var heads: [StreamID: [UInt8]] = [:]
    private var partners: [StreamID: StreamID] = [:]
    private var waiting: [StreamID: StreamID] = [:]

    /// Makes a proxy that connects to certain ports, 443 by default.
    public init(port: UInt16 = 3128, allowedPorts: Set<UInt16> = [443]) {
        self.port = port
        self.allowedPorts = allowedPorts
    }

    /// Takes connections and what comes over them.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started: _ = try? host.listen(port: port)
        case .accepted(let stream, _, _): heads[stream] = []
        case .bytes(let stream, let bytes):
            if let partner = partners[stream] { return host.write(bytes, to: partner) }
            heads[stream]? += bytes
            readHead(stream, host)
        case .connected(let target):
            guard let client = waiting.removeValue(forKey: target) else { return }
            partners[client] = target
            partners[target] = client
            host.write(Array("HTTP/1.1 200 Connected\r\n\r\n".utf8), to: client)
        case .ended(let stream, let end):
            if let client = waiting.removeValue(forKey: stream) { refuse(client, "502 Bad Gateway", host) }
            guard let partner = partners.removeValue(forKey: stream) else { return }
            end == .finished ? host.finish(partner) : host.abort(partner)
        default: break
        }
    }

    private func readHead(_ stream: StreamID, _ host: HostContext) {
        guard let head = heads[stream], head.suffix(4) == [13, 10, 13, 10] || head.count > 8192 else { return }
        heads[stream] = nil
        let words = String(decoding: head, as: UTF8.self).split(separator: " ")
        guard words.count > 2, words[0] == "CONNECT", let target = SocketAddress(String(words[1])) else {
            return refuse(stream, "400 Bad Request", host)
        }
        guard allowedPorts.contains(target.port) else { return refuse(stream, "403 Forbidden", host) }
        guard let connection = try? host.connect(to: target) else { return refuse(stream, "502 Bad Gateway", host) }
        waiting[connection] = stream
    }

    private func refuse(_ stream: StreamID, _ status: String, _ host: HostContext) {
        host.write(Array("HTTP/1.1 \(status)\r\n\r\n".utf8), to: stream)
        host.finish(stream)
    }
}
