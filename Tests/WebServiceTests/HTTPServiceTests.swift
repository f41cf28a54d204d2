import CallPage
import Crypto
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import ServiceTestSupport
import Store
import Testing
import Transport

@testable import WebService

@Suite struct HTTPServiceTests {
    @Test(arguments: AddressFamily.allCases, [false, true])
    func `the page is served`(family: AddressFamily, isTLS: Bool) throws {
        let web = try TestWeb()
        let client = try web.http(isTLS: isTLS, family)
        // Deliberately one after the other, on one connection.
        for file in CallPage.files {
            let response = try client.get(file.path)
            #expect(response.status == .ok && response.body == file.bytes)
            #expect(response.headers["Content-Type"] == file.contentType)
            expectSecurityHeaders(response.headers)
            let tag = try #require(response.headers["ETag"])
            let again = try client.get(file.path, ["If-None-Match: \(tag)"])
            #expect(again.status == .notModified && again.body.isEmpty)
        }
    }

    @Test func `requests in one line are answered in their order`() throws {
        let web = try TestWeb()
        let client = try web.http()
        for path in ["/healthz", "/nowhere", "/main.js"] { try client.send("GET \(path) HTTP/1.1") }
        #expect(try client.receive().text == "ok\n")
        #expect(try client.receive().status == .notFound)
        #expect(try client.receive().headers["Content-Type"] == "text/javascript; charset=utf-8")
    }

    @Test func `HEAD is answered without content`() throws {
        let web = try TestWeb()
        let client = try web.http()
        try client.send("HEAD / HTTP/1.1")
        let response = try client.receive(toHead: true)
        let page = try client.get("/")
        #expect(response.status == .ok && response.body.isEmpty)
        #expect(response.headers["Content-Length"] == "\(page.body.count)")
        #expect(response.headers["ETag"] == page.headers["ETag"])
    }

    @Test(arguments: [("HTTP/1.0", ""), ("HTTP/1.1", "Connection: close")])
    func `a client that wants no more than one answer gets one`(version: String, field: String) throws {
        let web = try TestWeb()
        let client = try web.http()
        try client.send("GET /healthz \(version)", field.isEmpty ? [] : [field])
        #expect(try client.receive().text == "ok\n")
        #expect(try client.stream.receive() == nil)
    }

    @Test func `a client that has ended its side still gets its answer`() throws {
        let web = try TestWeb()
        for isTLS in [false, true] {
            let client = try web.http(isTLS: isTLS)
            try client.send("GET /main.js HTTP/1.1")
            client.stream.finish()
            #expect(try client.receive().status == .ok)
            #expect(try client.stream.receive() == nil)
        }
    }

    @Test func `what is no HTTP is refused, and the others do not notice`() throws {
        let web = try TestWeb()
        let other = try web.http()
        #expect(try other.get("/healthz").status == .ok)
        let client = try web.http()
        try client.stream.send(Array("NONSENSE\r\n\r\n".utf8))
        #expect(try client.receive().status == .badRequest)
        #expect(try client.stream.receive() == nil)
        #expect(try other.get("/healthz").status == .ok)
    }

    @Test func `metrics count what was done`() throws {
        let web = try TestWeb()
        let client = try web.http()
        _ = try client.get("/healthz")
        _ = try client.get("/nowhere")
        let page = try client.get("/metrics")
        #expect(page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8")
        let lines = page.text.split(separator: "\n").map(String.init)
        for line in [
            "floe_http_connections 1", "floe_http_connections_total 1", "floe_http_responses_total{class=\"2xx\"} 1",
            "floe_http_responses_total{class=\"4xx\"} 1", "floe_http_drops_total{reason=\"tlsFailure\"} 0",
            "floe_test_value 42",
        ] {
            #expect(lines.contains(line))
        }
    }

    @Test func `plain HTTP on the port of HTTPS is told what to do, and counted`() throws {
        let web = try TestWeb()
        let stream = try StreamClient(to: web.address(isTLS: true))
        try stream.send(Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
        var answer: [UInt8] = []
        while let bytes = try? stream.receive() { answer += bytes }
        let text = String(decoding: answer, as: UTF8.self)
        #expect(text.hasPrefix("HTTP/1.1 400 ") && text.contains("https://"), "\(text)")
        let client = try web.http()
        #expect(try eventually { try client.get("/metrics").text.contains("reason=\"tlsFailure\"} 1\n") })
    }

    @Test func `a TLS handshake that does not come is given up`() throws {
        let web = try TestWeb { $0.handshakeTime = .milliseconds(100) }
        let silent = try StreamClient(to: web.address(isTLS: true))
        let halting = try StreamClient(to: web.address(isTLS: true))
        // The beginning of a ClientHello.
        try halting.send([0x16, 3, 1, 1, 0, 1, 0, 0])
        for stream in [silent, halting] { #expect(try stream.receive() == nil) }
        let page = try web.http().get("/metrics").text
        #expect(page.contains("reason=\"silentStream\"} 1\n") && page.contains("reason=\"handshakeTimeout\"} 1\n"))
    }

    @Test func `connections are bounded`() throws {
        let web = try TestWeb { $0.connections = 2 }
        let clients = try [web.http(), web.http()]
        for client in clients { #expect(try client.get("/healthz").status == .ok) }
        #expect((try? web.stream().receive()) == .some(nil))
        #expect(try clients[0].get("/metrics").text.contains("reason=\"tooManyConnections\"} 1\n"))
        #expect(try clients[1].get("/healthz").status == .ok)
    }

    @Test func `a new certificate is for new connections, those that exist go on`() throws {
        let web = try TestWeb()
        let old = try web.http(isTLS: true)
        #expect(try old.get("/healthz").status == .ok)
        let fresh = try TestWeb.identity()
        web.configuration.tls?.replace(
            try TLSContext(serverIdentities: [fresh], applicationProtocols: ["http/1.1"])
        )
        #expect(eventually { (try? web.stream(isTLS: true, trusting: fresh)) != nil })
        #expect(throws: ClientError.self) { try web.stream(isTLS: true) }
        #expect(try old.get("/healthz").status == .ok)
    }

    @Test func `a port that is taken is refused`() throws {
        let web = try TestWeb()
        for listener in web.configuration.listeners {
            var configuration = web.configuration
            configuration.listeners = [listener]
            let error = #expect(throws: SocketError.self) {
                _ = try WebService(
                    configuration,
                    store: try Database(path: web.folder.path + "/other"),
                    logger: .silent
                ) { _ in }
            }
            #expect(error?.isAddressInUse == true && error?.address == listener.address)
        }
        #expect(try web.http().get("/healthz").status == .ok)
    }

    @Test func `stopping ends connections that wait for nothing`() throws {
        let web = try TestWeb()
        let clients = try [web.http(), web.http(isTLS: true), web.http()]
        for client in clients[..<2] { #expect(try client.get("/healthz").status == .ok) }
        web.service.stop()
        for client in clients {
            // The third one may not even have been accepted: then the kernel resets it.
            #expect((try? client.stream.receive()) ?? nil == nil)
            client.stream.finish()
        }
        web.service.join()
        for listener in web.configuration.listeners { try TCPListener.checkAvailable(listener.address) }
    }

    @Test func `stopping does not wait for a client that does not end its side`() throws {
        let web = try TestWeb { $0.stopTime = .milliseconds(200) }
        let client = try web.http()
        #expect(try client.get("/healthz").status == .ok)
        let begun = MonotonicClock.now()
        web.service.stop()
        web.service.join()
        #expect(MonotonicClock.now() - begun < .seconds(10))
    }
}
