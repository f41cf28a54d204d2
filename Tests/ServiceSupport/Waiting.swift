import EventLoop
import Glibc
import NetTypes
import Transport

/// Looks again and again until `condition` holds; `false` if it does not within a generous time.
public func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    let deadline = MonotonicClock.now() + StreamClient.patience
    while try !condition() {
        guard MonotonicClock.now() < deadline else { return false }
        usleep(2000)
    }
    return true
}

/// Starts a service on ports that are free, and anew on others if somebody was faster.
///
/// `start` gets so many different ports, each free for UDP and TCP on both loopback addresses.
public func withFreePorts<Service>(_ count: Int, _ start: ([UInt16]) throws -> Service) throws -> Service {
    for _ in 0..<20 {
        do {
            return try start(freePorts(count))
        } catch let error as SocketError where error.isAddressInUse {
            continue
        }
    }
    return try start(freePorts(count))
}

private func freePorts(_ count: Int) -> [UInt16] {
    var ports: [UInt16] = []
    while ports.count < count {
        guard let port = try? UDPSocket(boundTo: .init(.loopback(.ipv4), port: 0)).localAddress.port,
            !ports.contains(port), isFree(port)
        else { continue }
        ports.append(port)
    }
    return ports
}

private func isFree(_ port: UInt16) -> Bool {
    do throws(SocketError) {
        for family in AddressFamily.allCases {
            try UDPSocket.checkAvailable(SocketAddress(.loopback(family), port: port))
            try TCPListener.checkAvailable(SocketAddress(.loopback(family), port: port))
        }
        return true
    } catch {
        return false
    }
}
