import Crypto
import EventLoop
import NameResolver
public import NetTypes
public import Resolution
public import STUN
import Transport

/// Why an instrument could not do its work, in a sentence.
public struct InstrumentError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The sentence.
    public let description: String

    /// Makes an error of a sentence.
    public init(_ description: String) { self.description = description }
}

extension RetransmissionPolicy {
    /// Requests at 0, 0.5, 1.5 and 3.5 s, failure at 5.5 s: somebody sits before the screen.
    public static var impatient: RetransmissionPolicy {
        var policy = RetransmissionPolicy()
        policy.requestCount = 4
        policy.lastWaitFactor = 4
        policy.reliableTimeout = .seconds(10)
        return policy
    }
}

/// A server as an instrument reaches it.
public struct ServerTarget: Sendable {
    /// The server's address.
    public var address: SocketAddress
    /// What carries the messages.
    public var transport: TransportProtocol
    /// The certificate's judge, for TLS.
    public var tls: TLSChoice?
    /// Where connections leave from, if that matters.
    var source: SocketAddress?

    /// Makes a target.
    public init(_ address: SocketAddress, _ transport: TransportProtocol, tls: TLSChoice? = nil) {
        self.address = address
        self.transport = transport
        self.tls = tls
    }

    /// Finds the servers that a query stands for, the one to try first in front; never none.
    ///
    /// - Throws: A sentence, if there are none.
    public static func find(
        _ query: ServerQuery,
        tls: TLSChoice.Context?
    ) throws(InstrumentError) -> [ServerTarget] {
        do throws(ResolutionError) {
            return try ServerFinder.candidates(of: query).map { candidate in
                let choice = tls.map { TLSChoice($0, serverName: candidate.serverName) }
                return ServerTarget(candidate.address, candidate.transport, tls: choice)
            }
        } catch {
            throw InstrumentError("\(error)")
        }
    }

    /// Opens one more connection to the server, for a peer's bytes (RFC 6062 §4.3).
    func openStream() throws(InstrumentError) -> StreamLink {
        guard let link = try open() as? StreamLink else {
            throw InstrumentError("connections are relayed only to who is connected over TCP or TLS")
        }
        return link
    }

    func open() throws(InstrumentError) -> any Link {
        do throws(SocketError) {
            switch (transport, tls?.context) {
            case (.dtls, .dtls(let context)?):
                return try SecureDatagramLink(to: address, context, serverName: tls?.serverName ?? "")
            case (.tls, .tls(let context)?):
                return try StreamLink(to: address, tls: (context, tls?.serverName ?? ""), from: source)
            case (.udp, _): return try DatagramLink(to: address)
            case (.tcp, _): return try StreamLink(to: address, from: source)
            case (.tls, _), (.dtls, _): preconditionFailure("a secure transport without a context for it")
            }
        } catch {
            throw InstrumentError("\(error)")
        }
    }
}

/// A few links and one poller: waits until one of them has something.
struct LinkSet: ~Copyable {
    private let poller: Poller
    private var events = PollEvents(capacity: 16)
    private var links: [any Link]
    private var isWriting: [Bool]

    init(_ links: [any Link]) throws(InstrumentError) {
        self.links = links
        isWriting = links.map { _ in true }
        do throws(SystemError) {
            let poller = try Poller()
            for (index, link) in links.enumerated() {
                try poller.add(link.descriptor, token: UInt64(index), interest: [.read, .write])
            }
            self.poller = poller
        } catch {
            throw InstrumentError("\(error)")
        }
    }

    /// Waits for one more link from now on.
    mutating func add(_ link: any Link) throws(InstrumentError) {
        do throws(SystemError) {
            try poller.add(link.descriptor, token: UInt64(links.count), interest: [.read, .write])
        } catch {
            throw InstrumentError("\(error)")
        }
        links.append(link)
        isWriting.append(true)
    }

    /// Sends what waits, then sleeps until a link has something or the time has come; returns who may have something.
    mutating func wait(until deadline: Instant) throws(InstrumentError) -> [Int] {
        var deadline = deadline
        for link in links {
            link.flush()
            deadline = min(deadline, link.nextTimeout ?? .distantFuture)
        }
        do throws(SystemError) {
            for index in links.indices where isWriting[index] != links[index].wantsWrite {
                isWriting[index].toggle()
                let interest: Interest = isWriting[index] ? [.read, .write] : .read
                try poller.modify(links[index].descriptor, token: UInt64(index), interest: interest)
            }
            try poller.wait(until: deadline, into: &events)
        } catch {
            throw InstrumentError("\(error)")
        }
        return events.indices.compactMap { Int(exactly: events[$0].token) }
    }
}
