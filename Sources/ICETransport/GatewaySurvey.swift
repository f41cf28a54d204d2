public import EventLoop
public import NetTypes
public import PortMapping
import Transport

/// What the gateway of one address of this host says to each protocol of port mapping.
public struct GatewayReport: Hashable, Sendable {
    /// The interface.
    public let interface: String
    /// Our address.
    public let client: IPAddress
    /// The gateway.
    public let gateway: IPAddress
    /// What each protocol has given.
    public var mappings: [PortMappingProtocol: PortMapping] = [:]
    /// Why the others have given nothing.
    public var failures: [PortMappingProtocol: PortMappingFailure] = [:]
}

/// Asks the gateways of this host, by each protocol on its own, for a mapping that is given back at once.
public enum GatewaySurvey {
    private struct Question {
        let client: GatewayClient
        let mapping: MappingID
        let report: Int
        let name: PortMappingProtocol
        /// Keeps the port ours meanwhile.
        let holder: Holder
    }

    private final class Holder {
        let socket: UDPSocket
        init(_ socket: consuming UDPSocket) { self.socket = socket }
    }

    /// Asks all of them at the same time on the calling thread; takes `patience` at most, and one second to give back.
    ///
    /// - Throws: `SystemError` if the process has no descriptor left.
    public static func run(patience: TimeSpan = .seconds(3)) throws(SystemError) -> [GatewayReport] {
        let poller = try Poller()
        var events = PollEvents(capacity: 32)
        var reports: [GatewayReport] = []
        var questions: [Question] = []
        for entry in try NetworkInterfaces.list() where entry.isUp && !entry.isLoopback && !entry.address.isLinkLocal {
            guard let gateway = NetworkInterfaces.gateway(entry.address.family, of: entry.index),
                !reports.contains(where: { $0.interface == entry.name && $0.client.family == entry.address.family })
            else { continue }
            reports.append(GatewayReport(interface: entry.name, client: entry.address, gateway: gateway.ip))
            for name in PortMappingProtocol.allCases {
                let place = (report: reports.count - 1, number: UInt64(questions.count))
                if let question = ask(name, entry, gateway, place, patience, poller) { questions.append(question) }
            }
        }
        let end = MonotonicClock.now() + patience + .milliseconds(200)
        var open = Set(questions.indices)
        while !open.isEmpty, MonotonicClock.now() < end {
            let now = MonotonicClock.now()
            for index in questions.indices {
                for event in questions[index].client.process(poller, at: now) {
                    if note(event, questions[index], &reports) { open.remove(index) }
                }
            }
            try wait(questions, until: end, poller, &events)
        }
        giveBack(questions, poller, &events)
        return reports
    }

    private static func ask(
        _ name: PortMappingProtocol,
        _ entry: NetworkInterface,
        _ gateway: SocketAddress,
        _ place: (report: Int, number: UInt64),
        _ patience: TimeSpan,
        _ poller: borrowing Poller
    ) -> Question? {
        var configuration = PortMapperConfiguration(gateway: gateway, client: entry.address, protocols: [name])
        guard configuration.protocols.contains(name) else { return nil }
        configuration.deadline = patience
        configuration.lifetimeSeconds = 120
        configuration.label = "Floe doctor"
        let now = MonotonicClock.now()
        guard let socket = try? UDPSocket(boundTo: SocketAddress(entry.address, port: 0)) else { return nil }
        let holder = Holder(socket)
        let port = holder.socket.localAddress.port
        guard let client = try? GatewayClient(configuration, interface: entry.index, token: place.number, poller),
            let mapping = client.map(.udp, port, at: now)
        else { return nil }
        return Question(client: client, mapping: mapping, report: place.report, name: name, holder: holder)
    }

    private static func note(_ event: PortMapperEvent, _ question: Question, _ reports: inout [GatewayReport]) -> Bool {
        switch event {
        case .mapped(_, let mapping): reports[question.report].mappings[question.name] = mapping
        case .failed(_, let failures):
            reports[question.report].failures[question.name] = failures[question.name] ?? .silent
        case .lost, .closed: return false
        }
        return true
    }

    private static func wait(
        _ questions: [Question],
        until end: Instant,
        _ poller: borrowing Poller,
        _ events: inout PollEvents
    ) throws(SystemError) {
        let next = questions.map(\.client.nextTimeout).min() ?? end
        try poller.wait(until: min(next, end), into: &events)
        let now = MonotonicClock.now()
        for index in events.indices {
            if let number = Int(exactly: events[index].token) { questions[number].client.receive(at: now) }
        }
    }

    /// Deletes what was granted; a gateway that says nothing to that forgets it within two minutes.
    private static func giveBack(_ questions: [Question], _ poller: borrowing Poller, _ events: inout PollEvents) {
        for question in questions { question.client.unmap(question.mapping, at: MonotonicClock.now()) }
        let end = MonotonicClock.now() + .seconds(1)
        while MonotonicClock.now() < end {
            for question in questions { _ = question.client.process(poller, at: MonotonicClock.now()) }
            guard questions.contains(where: { !$0.client.isClosed }) else { return }
            guard (try? wait(questions, until: end, poller, &events)) != nil else { return }
        }
    }
}
