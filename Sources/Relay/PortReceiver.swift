import Bytes
import NetTypes
import SocketLookup
import Transport

/// The socket that receives for all of a shard's relayed ports of one address, and which relay has which port.
struct PortReceiver: ~Copyable {
    private struct Place {
        /// The relay's handle, 0 for none.
        var relay: UInt64 = 0
        /// How far the queue must have come before the port may have another relay.
        var restsUntil: UInt64 = 0
    }

    /// What a datagram takes of a receive buffer at least, in bytes as the kernel counts them.
    private static let leastCharge = 512

    let socket: UDPSocket
    private let firstPort: UInt16
    private var places: [Place]
    /// How far the queue has come, at least: grows by one with each reading, and by all that it can hold when it is empty.
    private var progress: UInt64 = 0
    private let queueLimit: UInt64

    init(_ socket: consuming UDPSocket, ports: ClosedRange<UInt16>) {
        // The kernel's limit is twice what it says that it has granted.
        queueLimit = UInt64(2 * socket.receiveBufferBytes / Self.leastCharge + 1)
        self.socket = socket
        firstPort = ports.lowerBound
        places = Array(repeating: Place(), count: ports.count)
    }

    /// The relay that has a port.
    func relay(at port: UInt16) -> SlotHandle? {
        let index = Int(port) - Int(firstPort)
        guard places.indices.contains(index), places[index].relay != 0 else { return nil }
        return SlotHandle(bits: places[index].relay)
    }

    /// Whether nothing can wait at the socket any more that was sent to a former owner of the port.
    mutating func isRested(_ port: UInt16) -> Bool {
        guard places[index(port)].restsUntil > progress else { return true }
        if socket.handle.isDrained { progress &+= queueLimit }
        return places[index(port)].restsUntil <= progress
    }

    /// Lets a relay have what comes to a port of the range.
    mutating func open(_ port: UInt16, for relay: SlotHandle) { places[index(port)].relay = relay.bits }

    /// Lets nobody have it, once the kernel brings nothing more for it.
    mutating func close(_ port: UInt16) {
        places[index(port)] = Place(relay: 0, restsUntil: progress &+ queueLimit)
    }

    /// Notes that the socket was read, and whether it is empty now.
    mutating func noteReading(isDrained: Bool) { progress &+= isDrained ? queueLimit : 1 }

    private func index(_ port: UInt16) -> Int { Int(port) - Int(firstPort) }
}
