import Bytes
import Connectivity
import EventLoop
import ICE
import ICETransport
import NetTypes
import STUN
import ServiceTestSupport
import Synchronization
import Testing
import Transport

/// Passes datagrams on between two peers, each of which knows one of its sockets, and notes how they were marked.
private final class Postman: Sendable {
    enum Kind: Hashable, Sendable {
        case request
        case answer
        case data
    }

    struct Notes {
        var peers: [SocketAddress?] = [nil, nil]
        var classes: [Kind: Set<UInt8>] = [:]
        var isOver = false
    }

    let notes = Mutex(Notes())
    let addresses: [SocketAddress]
    private let thread: Mutex<LoopThread?> = Mutex(nil)

    init(_ family: AddressFamily) throws {
        var options = UDPSocket.Options()
        options.reportsTrafficClass = true
        let here = SocketAddress(.loopback(family), port: 0)
        let first = try UDPSocket(boundTo: here, options: options)
        let second = try UDPSocket(boundTo: here, options: options)
        addresses = [first.localAddress, second.localAddress]
        thread.withLock { $0 = try? LoopThread(name: "postman") { [self] in pass(first, second) } }
    }

    private func pass(_ first: borrowing UDPSocket, _ second: borrowing UDPSocket) {
        let handles = [first.handle, second.handle]
        var incoming = DatagramReceiveBatch(capacity: 16, payloadCapacity: 2048)
        var outgoing = DatagramSendBatch()
        var events = PollEvents(capacity: 2)
        guard let poller = try? Poller() else { return }
        for handle in handles { try? poller.add(handle.descriptor, token: 0, interest: .read) }
        while !notes.withLock({ $0.isOver }) {
            try? poller.wait(until: MonotonicClock.now() + .milliseconds(10), into: &events)
            for (place, handle) in handles.enumerated() {
                for index in incoming.receive(from: handle) {
                    let payload = incoming.payload(of: index)
                    note(payload, incoming.trafficClass(of: index))
                    // What comes in at one socket leaves from the other one, to the peer that knows that one.
                    guard let target = notes.withLock({ $0.peers[1 - place] }) else { continue }
                    _ = outgoing.enqueue(copying: payload, on: DatagramRoute(handles[1 - place], to: target))
                }
                incoming.removeAll()
            }
            outgoing.flush()
        }
    }

    private func note(_ payload: Span<UInt8>, _ trafficClass: UInt8) {
        let kind: Kind = payload[0] > 3 ? .data : payload[0] == 0 ? .request : .answer
        notes.withLock { _ = $0.classes[kind, default: []].insert(trafficClass) }
    }

    /// Has a peer's candidate lead to the socket that the other side is to know.
    func replaced(_ candidate: Candidate, of place: Int) -> Candidate? {
        guard candidate.type == .host, case .ip(addresses[place].ip) = candidate.address else { return nil }
        notes.withLock { $0.peers[place] = candidate.socketAddress }
        var changed = candidate
        changed.port = addresses[1 - place].port
        return changed
    }

    func stop() {
        notes.withLock { $0.isOver = true }
        thread.withLock { $0.take() }?.join()
    }
}

@Suite(.serialized) struct MarkingTests {
    @Test(arguments: [(AddressFamily.ipv4, nil), (.ipv6, nil), (.ipv4, UInt16(0))])
    func `checks, answers and data have the code point that the owner wants (ice 45)`(
        _ family: AddressFamily,
        _ sharedPort: UInt16?
    ) async throws {
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        options.sharedPort = sharedPort
        let loop = try ICELoop(options)
        let postman = try Postman(family)
        let pair = try Pair(loop) { $0.dscp = 46 }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await pair.signal({ postman.replaced($0, of: 0) }, back: { postman.replaced($0, of: 1) })
            }
            #expect(await pair.connect())
            let (one, other) = await pair.exchange()
            #expect(one != nil && other != nil)
            await pair.close()
        }
        postman.stop()
        let classes = postman.notes.withLock { $0.classes }
        #expect(classes == [.request: [46 << 2], .answer: [46 << 2], .data: [46 << 2]])
        loop.stop()
    }
}
