import HTTP
import NetTypes
import Testing

@Suite("HTTP deadlines")
struct HTTPDeadlineTests {
    private let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    @Test
    func `a connection without a request ends without a word after the head time`() {
        let connection = TestConnection()
        connection.pass(.milliseconds(9999))
        let early = connection.engine.isFinished
        connection.pass(.milliseconds(1))
        let late = connection.engine.isFinished
        #expect(!early && late)
        connection.transmit()
        #expect(connection.output.isEmpty)
        #expect(connection.events() == [])
    }

    @Test
    func `headers that trickle in are answered with 408`() {
        let connection = TestConnection()
        connection.pass(.seconds(5))
        connection.feed("GET / HTTP/1.1\r\n")
        for _ in 0..<9 {
            connection.pass(.seconds(1))
            connection.feed("A: b\r\n")
        }
        #expect(connection.events() == [])
        connection.pass(.seconds(1))
        #expect(connection.events() == [.dropped(.headTimeout)])
        connection.transmit()
        #expect(connection.text.hasPrefix("HTTP/1.1 408 Request Timeout\r\n"))
        let isFinished = connection.engine.isFinished
        #expect(isFinished)
    }

    @Test
    func `a body that trickles in is answered with 408`() {
        let connection = TestConnection()
        connection.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in 0..<29 {
            connection.pass(.seconds(1))
            connection.feed("x")
        }
        #expect(connection.events() == [])
        connection.pass(.seconds(1))
        #expect(connection.events() == [.dropped(.bodyTimeout)])
        connection.transmit()
        #expect(connection.text.hasPrefix("HTTP/1.1 408 "))
    }

    @Test
    func `an idle connection ends silently, and a new request has its own head time`() {
        let connection = TestConnection()
        connection.feed(get)
        _ = connection.request()
        let working = connection.engine.nextTimeout
        #expect(working == nil)
        connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        connection.transmit()
        let idle = connection.engine.nextTimeout
        #expect(idle == connection.now + .seconds(60))
        connection.pass(.seconds(59))
        connection.feed("GET")
        let head = connection.engine.nextTimeout
        #expect(head == connection.now + .seconds(10))
        connection.feed(get.dropFirst(3).description)
        _ = connection.request()
        connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        connection.transmit()
        connection.pass(.seconds(60))
        let isFinished = connection.engine.isFinished
        #expect(isFinished)
        #expect(connection.events() == [])
    }

    @Test
    func `a response has time in proportion to its length`() {
        for (count, seconds) in [(0, UInt64(30)), (4096 * 100, 130)] {
            let connection = TestConnection()
            connection.feed(get)
            _ = connection.request()
            connection.engine.respond(HTTPResponse(.ok, body: Array(repeating: 1, count: count)), at: connection.now)
            for _ in 1..<seconds {
                connection.pass(.seconds(1))
                connection.transmit(1)
            }
            let early = connection.engine.isFinished
            connection.pass(.seconds(1))
            let late = connection.engine.isFinished
            #expect(!early && late)
            #expect(connection.events() == [.dropped(.responseTimeout)])
            connection.transmit()
            #expect(connection.output.count == Int(seconds) - 1)
        }
    }

    @Test
    func `an early call of handleTimeout changes nothing`() {
        let connection = TestConnection()
        connection.feed("GET / HT")
        connection.pass(.zero)
        connection.feed("TP/1.1\r\nHost: a\r\n\r\n")
        #expect(connection.request() != nil)
        connection.pass(.seconds(1000))
        #expect(connection.events() == [])
    }

    @Test
    func `Date moves with the time that passes`() {
        let connection = TestConnection()
        connection.feed(get)
        _ = connection.request()
        connection.pass(.seconds(3600))
        connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        connection.transmit()
        #expect(connection.text.contains("Date: Sun, 06 Nov 1994 09:49:37 GMT\r\n"))
    }
}
