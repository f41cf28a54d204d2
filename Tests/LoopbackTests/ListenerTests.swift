import EventLoop
import Glibc
import NetTypes
import Testing

@testable import Transport

@Suite struct ListenerTests {
    @Test func `a port in use is named in the error`() throws {
        let listener = try TCPListener(boundTo: Loopback.v6)
        let address = listener.localAddress
        let expected = SocketError(.listen(.tcp), at: address, number: EADDRINUSE)
        #expect(throws: expected) { _ = try TCPListener(boundTo: address) }
        #expect("\(expected)" == "cannot listen on TCP [::1]:\(address.port): address already in use")
        #expect(throws: expected) { try TCPListener.checkAvailable(address) }
    }

    @Test func `listeners that reuse a port share it`() throws {
        var options = TCPListener.Options()
        options.reusesPort = true
        let first = try TCPListener(boundTo: Loopback.v4, options: options)
        let second = try TCPListener(boundTo: first.localAddress, options: options)
        let isShared = first.localAddress == second.localAddress
        #expect(isShared)
    }

    @Test func `an owner that has enough refuses, and the client reads the end`() throws {
        var listener = try TCPListener(boundTo: Loopback.v4)
        var client = StreamConnection(try TCPSocket(connectingTo: listener.localAddress))
        try Loopback.wait(listener.descriptor)
        #expect(listener.refuse() == true)
        #expect(listener.refuse() == false)
        let refused = listener.refusedConnections
        #expect(refused == 1)
        try Loopback.wait(client.descriptor)
        var bytes: [UInt8] = []
        let result = client.readSome(into: &bytes, capacity: 1)
        #expect(result == .closed)
    }

    @Test func `without descriptors a connection is closed instead of waiting for ever`() async {
        await #expect(processExitsWith: .exitCode(7)) {
            var listener = try TCPListener(boundTo: Loopback.v4)
            var client = StreamConnection(try TCPSocket(connectingTo: listener.localAddress))
            try Loopback.wait(listener.descriptor)
            var limit = rlimit(rlim_cur: 0, rlim_max: 0)
            _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = 128
            _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            var last: Int32 = 0
            while true {
                let next = dup(0)
                guard next >= 0 else { break }
                last = next
            }
            guard case .refused = listener.accept() else { exit(1) }
            guard case .wouldBlock = listener.accept() else { exit(2) }
            guard listener.refusedConnections == 1 else { exit(3) }
            var bytes: [UInt8] = []
            guard client.readSome(into: &bytes, capacity: 1) == .closed else { exit(4) }
            // With a descriptor free again, all is as before.
            close(last)
            let another = try TCPSocket(connectingTo: listener.localAddress)
            exit(another.localAddress.port > 0 ? 7 : 5)
        }
    }

    @Test func `a thousand of everything opened and closed leave no descriptor behind`() async {
        await #expect(processExitsWith: .exitCode(7)) {
            _ = try StreamPair.connect(.tls)
            let base = openDescriptors()
            for _ in 0..<1000 {
                let socket = try UDPSocket(boundTo: Loopback.v4)
                _ = try? UDPSocket(boundTo: socket.localAddress)
                _ = try? UDPSocket(boundTo: Loopback.address("192.0.2.1"))
                _ = try Mailbox<Int>(limit: 1)
                _ = try Poller()
                let pair = try StreamPair.connect(.plain)
                _ = pair.client.isEstablished
            }
            for _ in 0..<20 { _ = try StreamPair.connect(.tls) }
            exit(openDescriptors() == base ? 7 : 3)
        }
    }
}

/// How many descriptors this process has open.
private func openDescriptors() -> Int {
    (Int32(0)..<4096).count { fcntl($0, F_GETFD) >= 0 }
}
