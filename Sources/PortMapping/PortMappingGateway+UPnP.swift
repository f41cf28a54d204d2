import Bytes
public import NetTypes

/// The gateway's web server: its description and its SOAP service.
extension PortMappingGateway {
    private var service: String { UPnPText.serviceTypes[behaviour.isVersion2 ? 0 : 1] }

    /// Answers a whole HTTP request that came from `client` to `httpPort`; the connection closes behind the answer.
    ///
    /// `nil` while the request is not complete.
    public mutating func answerHTTP(_ request: [UInt8], from client: SocketAddress, at now: Instant) -> [UInt8]? {
        let text = String(decoding: request, as: UTF8.self)
        guard let end = text.firstRange(of: "\r\n\r\n") else { return nil }
        let head = text[..<end.lowerBound].split(separator: "\r\n")
        let body = text[end.upperBound...]
        let length = head.first { $0.lowercased().hasPrefix("content-length:") }
            .flatMap { Int($0.dropFirst(15).drop { $0 == " " }) }
        guard body.utf8.count >= length ?? 0 else { return nil }
        guard let line = head.first else { return http(400, "") }
        if line.hasPrefix("GET /root.xml ") { return http(200, description) }
        guard line.hasPrefix("POST /ctl "), let action = head.first(where: { $0.lowercased().hasPrefix("soapaction:") })
        else { return http(404, "") }
        return answer(String(action), Array(body.utf8), client, at: now)
    }

    private var description: String {
        let control = behaviour.controlURL ?? "/ctl"
        let padding = String(repeating: "<!-- -->", count: behaviour.descriptionPadding / 8)
        return """
            <?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">\(padding)<device><serviceList>
            <service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
            <controlURL>/other</controlURL></service>
            <service><serviceType>\(service)</serviceType><controlURL>\(control)</controlURL></service>
            </serviceList></device></root>
            """
    }

    private mutating func answer(
        _ action: String,
        _ body: [UInt8],
        _ client: SocketAddress,
        at now: Instant
    ) -> [UInt8] {
        func field(_ name: String) -> String { XMLScanner.text(name, in: body[...]) ?? "" }
        if action.contains("#GetExternalIPAddress") {
            return soap("GetExternalIPAddress", "<NewExternalIPAddress>\(external)</NewExternalIPAddress>")
        }
        guard let port = UInt16(field("NewExternalPort")) else { return fault(402) }
        let transport: MappedTransport = field("NewProtocol") == "UDP" ? .udp : .tcp
        if action.contains("#DeletePortMapping") {
            return remove(transport, port) ? soap("DeletePortMapping", "") : fault(714)
        }
        guard behaviour.upnpError == 0 else { return fault(behaviour.upnpError) }
        guard let lease = UInt32(field("NewLeaseDuration")), let internalPort = UInt16(field("NewInternalPort")),
            let inside = IPAddress(field("NewInternalClient")), inside == client.ip
        else { return fault(402) }
        if behaviour.onlyPermanentLeases, lease != 0 { return fault(725) }
        let target = SocketAddress(inside, port: internalPort)
        if action.contains("#AddAnyPortMapping") {
            guard behaviour.isVersion2 else { return fault(401) }
            let given = assign(transport, target, wish: port, at: now)
            store(transport, target, given, lease, nil, at: now)
            return soap("AddAnyPortMapping", "<NewReservedPort>\(given)</NewReservedPort>")
        }
        guard action.contains("#AddPortMapping") else { return fault(401) }
        if let owner = holder(transport, port, at: now), owner != target { return fault(718) }
        store(transport, target, port, min(lease, behaviour.longestLifetime), nil, at: now)
        return soap("AddPortMapping", "")
    }

    private func soap(_ action: String, _ fields: String) -> [UInt8] {
        let answer = "<u:\(action)Response xmlns:u=\"\(service)\">\(fields)</u:\(action)Response>"
        return http(200, "<?xml version=\"1.0\"?><s:Envelope><s:Body>\(answer)</s:Body></s:Envelope>")
    }

    private func fault(_ code: UInt32) -> [UInt8] {
        let error = "<UPnPError><errorCode>\(code)</errorCode></UPnPError>"
        return http(500, "<s:Envelope><s:Body><s:Fault><detail>\(error)</detail></s:Fault></s:Body></s:Envelope>")
    }

    private func http(_ status: Int, _ body: String) -> [UInt8] {
        let head = "HTTP/1.1 \(status) Status\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
        return Array((head + body).utf8)
    }
}
