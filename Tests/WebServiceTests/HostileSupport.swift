import Crypto
import Diagnostics
import EventLoop
import FoundationEssentials
import Glibc
import NetTypes
import Signaling
import Store
import Testing
import Transport

@testable import WebService

/// A web service on loopback for one test, with what it says about itself.
final class HostileTarget {
    let service: WebService
    let port: UInt16
    private let folder: String

    init(
        _ change: (inout WebConfiguration) -> Void = { _ in },
        storing prepare: ((borrowing Database) throws -> Void)? = nil
    ) throws {
        folder = FileManager.default.temporaryDirectory.path + "/floe-hostile-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        let logger = Logger(level: .error, sink: SilentSink())
        try prepare?(Database(path: folder + "/store.sqlite"))
        for attempt in 1... {
            let port = try TCPListener(boundTo: SocketAddress(.loopback(.ipv4), port: 0)).localAddress.port
            let policy = WebPolicy(minter: ICEServersMinter(secret: "a secret of the tests"))
            var configuration = WebConfiguration(
                listeners: [.init(SocketAddress(.loopback(.ipv4), port: port), isTLS: false)],
                policy: policy
            )
            change(&configuration)
            do {
                let store = try Database(path: folder + "/store.sqlite")
                service = try WebService(configuration, store: store, logger: logger) { _ in }
                self.port = port
                return
            } catch let error as SocketError where error.isAddressInUse && attempt < 20 {
                continue
            }
        }
        preconditionFailure("the loop ends by returning or throwing")
    }

    deinit {
        service.stop()
        service.join()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// The value of one line of `/metrics`.
    func metric(_ name: String) throws -> UInt64 {
        let client = try RawClient(to: port)
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        let page = String(decoding: client.receiveAll(), as: UTF8.self)
        let line = page.split(separator: "\n").first { $0.hasPrefix(name + " ") }
        return try #require(line.flatMap { UInt64($0.split(separator: " ").last ?? "") })
    }

    /// Whether the metric comes to satisfy the condition within ten seconds.
    func eventually(_ name: String, _ condition: (UInt64) -> Bool) throws -> Bool {
        for _ in 0..<200 {
            if condition(try metric(name)) { return true }
            usleep(50_000)
        }
        return false
    }
}

private struct SilentSink: LogSink {
    func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>) {}
}

/// A client that does with a TCP connection whatever it likes; calls wait at most ten seconds.
final class RawClient {
    let descriptor: Int32

    /// Connects; one that is not patient sends and receives only what goes without waiting.
    init(to port: UInt16, receiveBufferBytes: Int32? = nil, isPatient: Bool = true) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { if !isPatient { _ = fcntl(descriptor, F_SETFL, O_NONBLOCK) } }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        // All pointers are to locals that live through the calls.
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        if var bytes = receiveBufferBytes {
            unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
    }

    deinit { close(descriptor) }

    /// Sends everything; returns how much was taken before an error or the time was up.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        var rest = bytes[...]
        while !rest.isEmpty {
            let flags = Int32(MSG_NOSIGNAL)
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, flags) }
            guard count > 0 else { break }
            rest = rest.dropFirst(count)
        }
        return bytes.count - rest.count
    }

    @discardableResult
    func send(_ text: String) -> Int { send(Array(text.utf8)) }

    /// What comes next; empty at the end, or if nothing comes.
    func receive() -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            count = unsafe max(0, recv(descriptor, buffer.baseAddress, buffer.count, 0))
        }
    }

    /// All that comes up to the end.
    func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        while case let bytes = receive(), !bytes.isEmpty { all += bytes }
        return all
    }

    /// Makes the closing of the connection a reset.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        // The structure lives through the call.
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }

    /// Ends our side.
    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }
}

/// How often a text occurs.
func occurrences(of text: String, in bytes: [UInt8]) -> Int {
    let pattern = Array(text.utf8)
    var (count, index) = (0, 0)
    while index + pattern.count <= bytes.count {
        if bytes[index] == pattern[0], bytes[index..<index + pattern.count].elementsEqual(pattern) {
            count += 1
            index += pattern.count
        } else {
            index += 1
        }
    }
    return count
}
