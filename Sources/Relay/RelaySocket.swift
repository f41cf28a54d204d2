import NetTypes
import TURNServer
import Transport

/// One relayed address: the socket that is bound to it, if it has one.
struct RelaySocket: ~Copyable {
    let id: RelayID
    let local: SocketAddress
    /// Which address of the look-up it is on, where that brings what peers send; the socket then only sends.
    let place: Int?
    private(set) var forbidsFragments = false
    /// Whether ICMP errors wait that the last turn left.
    var hasErrors = false
    private var socket: UDPSocket?
    /// The socket's name.
    private(set) var name: UDPSocketHandle?

    /// A relay with a socket of its own.
    init(_ socket: consuming UDPSocket, id: RelayID) {
        self.id = id
        local = socket.localAddress
        place = nil
        name = socket.handle
        self.socket = consume socket
    }

    /// A relay that has no socket yet.
    init(of request: RelayRequest, at place: Int) {
        id = request.id
        local = request.local
        self.place = place
    }

    /// Opens a socket to send from; returns why it cannot be.
    mutating func open(forbidsFragments: Bool) -> SocketError? {
        var options = UDPSocket.Options()
        options.pathMTUDiscovery = forbidsFragments ? .probe : .fragment
        do throws(SocketError) {
            let socket = try UDPSocket(boundTo: local, options: options)
            name = socket.handle
            self.forbidsFragments = forbidsFragments
            self.socket = consume socket
            return nil
        } catch {
            return error
        }
    }

    /// Sets whether the datagrams that follow may be fragmented on their way.
    mutating func setForbidsFragments(_ forbids: Bool) {
        forbidsFragments = forbids
        try? socket?.setPathMTUDiscovery(forbids ? .probe : .fragment)
    }
}
