import Bytes
import EventLoop
import NetTypes
import PortMapping
import Transport

/// A `PortMapper` with its sockets: what one address of this host asks of its gateway.
///
/// All its sockets have one token of the owner's poller. After `receive` and `handleTimeout`, call `process`.
final class GatewayClient {
    private final class Stream {
        var connection: StreamConnection
        var isOpen = false
        var wantsWrite = true

        init(_ connection: consuming StreamConnection) { self.connection = connection }
    }

    private final class End {
        let socket: UDPSocket
        init(_ socket: consuming UDPSocket) { self.socket = socket }
    }

    /// Where gateways announce that they have lost their memory (RFC 6886 §3.2.1, RFC 6887 §8.5).
    private static let announcementPort: UInt16 = 5350

    private var mapper: PortMapper
    private var ends: [End] = []
    private var streams: [PortMapperStream: Stream] = [:]
    private var incoming = DatagramReceiveBatch(capacity: 16, payloadCapacity: 2048)
    private var outgoing = DatagramSendBatch(capacity: 16)
    private var scratch: [UInt8] = []
    private let token: UInt64
    /// How many mappings are wanted.
    private(set) var count = 0
    /// Whether it has been told to end, and has done so.
    private(set) var isClosed = false

    /// Opens its sockets.
    ///
    /// - Throws: `SocketError` if the address cannot be used, `SystemError` without descriptors.
    init(_ configuration: PortMapperConfiguration, interface: UInt32, token: UInt64, _ poller: borrowing Poller) throws
    {
        mapper = PortMapper(configuration)
        self.token = token
        scratch.reserveCapacity(16_384)
        let client = configuration.client
        let scope = client.isLinkLocal && client.family == .ipv6 ? interface : 0
        ends.append(End(try UDPSocket(boundTo: SocketAddress(client, port: 0, scope: scope))))
        var options = UDPSocket.Options()
        options.reusesAddress = true
        let group = client.family == .ipv4 ? IPAddress(ipv4: 0xE000_0001) : IPAddress(ipv6: 0xFF02_0000_0000_0000, 1)
        options.group = .init(group, on: interface)
        let address = SocketAddress(.unspecified(client.family), port: Self.announcementPort)
        // Without it a reboot of the gateway is noticed when the mapping is renewed.
        if let heard = try? UDPSocket(boundTo: address, options: options) { ends.append(End(heard)) }
        for end in ends { try poller.add(end.socket.descriptor, token: token, interest: .read) }
    }

    var nextTimeout: Instant { mapper.nextTimeout ?? .distantFuture }

    func map(_ transport: MappedTransport, _ port: UInt16, at now: Instant) -> MappingID? {
        let id = mapper.map(transport, internalPort: port, at: now)
        if id != nil { count += 1 }
        return id
    }

    /// Gives a mapping back; with the last one the client ends.
    func unmap(_ id: MappingID, at now: Instant) {
        mapper.unmap(id, at: now)
        count -= 1
        if count == 0 { mapper.close(at: now) }
    }

    func close(at now: Instant) { mapper.close(at: now) }

    /// Reads what has come.
    func receive(at now: Instant) {
        for end in ends {
            for index in incoming.receive(from: end.socket.handle) where !incoming.isTruncated(index) {
                Self.receive(&mapper, incoming, index, at: now)
            }
            incoming.removeAll()
        }
        for (name, stream) in streams { receive(name, stream, at: now) }
    }

    private static func receive(
        _ mapper: inout PortMapper,
        _ incoming: borrowing DatagramReceiveBatch,
        _ index: Int,
        at now: Instant
    ) {
        _ = mapper.receive(incoming.payload(of: index), from: incoming.source(of: index), at: now)
    }

    private func receive(_ name: PortMapperStream, _ stream: Stream, at now: Instant) {
        stream.connection.flush()
        if !stream.isOpen, stream.connection.isEstablished {
            stream.isOpen = true
            mapper.streamOpened(name, at: now)
        }
        var isOver = stream.connection.failure != nil
        // What is left over makes the descriptor readable again.
        for _ in 0..<8 where !isOver && stream.isOpen {
            var result = StreamReadResult.wouldBlock
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: 16_384) { result = stream.connection.read(into: &$0) }
            if !scratch.isEmpty { mapper.streamReceived(name, scratch.span, at: now) }
            switch result {
            case .bytes: continue
            case .closed, .failed: isOver = true
            case .wouldBlock: return
            }
        }
        guard isOver, streams.removeValue(forKey: name) != nil else { return }
        mapper.streamClosed(name, at: now)
    }

    /// Does what is due, sends, and takes what has happened.
    func process(_ poller: borrowing Poller, at now: Instant) -> [PortMapperEvent] {
        if nextTimeout <= now { mapper.handleTimeout(at: now) }
        while true {
            var order: Transmit?
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: PortMapper.maximumDatagramByteCount) { output in
                order = mapper.pollTransmit(at: now, into: &output)
            }
            guard let order else { break }
            let route = DatagramRoute(ends[0].socket.handle, to: order.destination)
            if !outgoing.hasRoom(for: scratch.count) { outgoing.flush() }
            _ = outgoing.enqueue(copying: scratch.span, on: route)
        }
        outgoing.flush()
        while let action = mapper.pollAction() { perform(action, poller, at: now) }
        for stream in streams.values where stream.connection.wantsWrite != stream.wantsWrite {
            stream.wantsWrite = stream.connection.wantsWrite
            let interest: Interest = stream.wantsWrite ? [.read, .write] : .read
            try? poller.modify(stream.connection.descriptor, token: token, interest: interest)
        }
        var events: [PortMapperEvent] = []
        while let event = mapper.pollEvent() {
            if event == .closed { isClosed = true } else { events.append(event) }
        }
        return events
    }

    private func perform(_ action: PortMapperAction, _ poller: borrowing Poller, at now: Instant) {
        switch action {
        case .open(let name, let target):
            do {
                let source = SocketAddress(mapper.configuration.client, port: 0)
                let socket = try TCPSocket(connectingTo: target, from: source)
                let stream = Stream(StreamConnection(socket))
                try poller.add(stream.connection.descriptor, token: token, interest: [.read, .write])
                streams[name] = stream
            } catch {
                mapper.streamClosed(name, at: now)
            }
        case .send(let name, let bytes): _ = streams[name]?.connection.write(bytes.span)
        case .close(let name): streams[name] = nil
        }
    }
}
