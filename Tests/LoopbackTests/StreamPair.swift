import Bytes
import Crypto
import EventLoop
import NetTypes
import Testing

@testable import Transport

/// Two ends of a TCP connection on the loopback, moved along in one thread.
struct StreamPair: ~Copyable {
    var client: StreamConnection
    var server: StreamConnection

    enum Security {
        case plain
        case tls
    }

    private init(_ security: Security, _ outputLimit: Int, _ address: SocketAddress) throws {
        var listener = try TCPListener(boundTo: address)
        let connecting = try TCPSocket(connectingTo: listener.localAddress)
        try Loopback.wait(listener.descriptor)
        let accepted = try listener.acceptOne()
        let contexts = try security == .tls ? (client: Self.clientContext(), server: Self.serverContext()) : nil
        if let contexts {
            let toServer = TLSSession(client: contexts.client, serverName: "localhost")
            let toClient = TLSSession(server: contexts.server)
            client = StreamConnection(connecting, tls: toServer, outputLimit: outputLimit)
            server = StreamConnection(accepted, tls: toClient, outputLimit: outputLimit)
        } else {
            client = StreamConnection(connecting, outputLimit: outputLimit)
            server = StreamConnection(accepted, outputLimit: outputLimit)
        }
    }

    static func connect(
        _ security: Security,
        outputLimit: Int = 256 * 1024,
        at address: SocketAddress = Loopback.v4
    ) throws -> StreamPair {
        var pair = try StreamPair(security, outputLimit, address)
        try pair.establish()
        return pair
    }

    private mutating func establish() throws {
        client.flush()
        var nothing: [UInt8] = []
        while !client.isEstablished || !server.isEstablished {
            guard client.failure == nil, server.failure == nil else { return }
            try wait()
            _ = client.readSome(into: &nothing, capacity: 1)
            _ = server.readSome(into: &nothing, capacity: 1)
            client.flush()
            server.flush()
        }
    }

    static func serverContext() throws -> TLSContext {
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        return try TLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
    }

    static func clientContext(_ protocols: [String] = ["stun.turn"]) throws -> TLSContext {
        try TLSContext(clientTrust: .anything, applicationProtocols: protocols)
    }

    /// Waits until an end can go on, at most ten seconds.
    func wait() throws {
        let poller = try Poller()
        var events = PollEvents()
        try poller.add(client.descriptor, token: 0, interest: client.wantsWrite ? [.read, .write] : .read)
        try poller.add(server.descriptor, token: 1, interest: server.wantsWrite ? [.read, .write] : .read)
        try poller.wait(until: MonotonicClock.now() + .seconds(10), into: &events)
        let count = events.count
        try #require(count > 0, "neither end got anywhere within ten seconds")
    }
}

extension TCPListener {
    /// The connection that waits.
    mutating func acceptOne() throws -> TCPSocket {
        switch accept() {
        case .accepted(let socket): return socket
        case .wouldBlock: throw SocketError(.listen(.tcp), at: localAddress, number: 11)
        case .refused: throw SocketError(.listen(.tcp), at: localAddress, number: 24)
        case .failed(let error): throw error
        }
    }
}

extension StreamConnection {
    /// Reads once, with room for `capacity` bytes.
    mutating func readSome(into bytes: inout [UInt8], capacity: Int) -> StreamReadResult {
        var result = StreamReadResult.wouldBlock
        bytes += [UInt8](capacity: capacity) { result = read(into: &$0) }
        return result
    }

    /// Reads until there is nothing more; returns the result that was not bytes.
    mutating func readAll(into bytes: inout [UInt8], capacity: Int = 4096) -> StreamReadResult {
        while true {
            let result = readSome(into: &bytes, capacity: capacity)
            guard case .bytes = result else { return result }
        }
    }

    mutating func write(_ bytes: [UInt8]) -> StreamWriteResult { write(bytes.span) }
}
