import Bytes
import HTTP
import NetTypes

/// An `http` URL whose host is an address: all that a gateway may name.
struct GatewayURL: Hashable {
    let address: SocketAddress
    let path: String

    /// Reads `http://a.b.c.d:port/path`.
    init?(_ text: some StringProtocol) {
        let prefix = "http://"
        guard text.utf8.count <= 1024, text.lowercased().hasPrefix(prefix) else { return nil }
        let rest = text.dropFirst(prefix.count)
        let end = rest.firstIndex(of: "/") ?? rest.endIndex
        let host = rest[..<end]
        let address = host.contains(":") ? SocketAddress(String(host)) : SocketAddress("\(host):80")
        guard let address, address.port != 0, let path = Self.path(end == rest.endIndex ? "/" : String(rest[end...]))
        else { return nil }
        self.address = address
        self.path = path
    }

    /// Reads a URL, or a path at the same host; what leads to another host is refused (ice 181).
    init?(_ text: some StringProtocol, relativeTo base: GatewayURL) {
        if text.lowercased().hasPrefix("http://") {
            guard let url = GatewayURL(text), url.address.ip == base.address.ip else { return nil }
            self = url
        } else {
            guard let path = Self.path(text.hasPrefix("/") ? String(text) : "/" + text) else { return nil }
            address = base.address
            self.path = path
        }
    }

    /// Only what can stand in a request line; a fragment or a space would make another request of it.
    private static func path(_ text: String) -> String? {
        let isPlain = text.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }
        return isPlain && text.utf8.count <= 512 ? text : nil
    }
}

/// Looks for elements in XML by name, in one pass, without a tree: descriptions and SOAP answers need no more.
///
/// Prefixes of namespaces are ignored, as are attributes. Nothing is expanded but the five named entities, so that no
/// document grows.
enum XMLScanner {
    /// The contents of all elements called `name`, up to the first closing tag of that name each.
    static func elements(_ name: String, in text: ArraySlice<UInt8>, limit: Int = 64) -> [ArraySlice<UInt8>] {
        var found: [ArraySlice<UInt8>] = []
        var rest = text
        while found.count < limit, let open = tag(name, isClosing: false, in: rest) {
            rest = rest[open.upperBound...]
            guard let close = tag(name, isClosing: true, in: rest) else { break }
            found.append(rest[..<close.lowerBound])
            rest = rest[close.upperBound...]
        }
        return found
    }

    /// The text of the first element called `name`, without white space around it.
    static func text(_ name: String, in text: ArraySlice<UInt8>) -> String? {
        guard let content = elements(name, in: text, limit: 1).first, content.count <= 1024 else { return nil }
        let isSpace = { (byte: UInt8) in byte == 0x20 || (9...13).contains(byte) }
        let start = content.drop(while: isSpace)
        let end = start.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? start.startIndex
        var string = String(decoding: start[start.startIndex..<end], as: UTF8.self)
        for (entity, character) in [("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'"), ("amp", "&")] {
            string = string.replacing("&\(entity);", with: character)
        }
        return string
    }

    private static func tag(_ name: String, isClosing: Bool, in text: ArraySlice<UInt8>) -> Range<Int>? {
        var rest = text
        while let start = rest.firstIndex(of: UInt8(ascii: "<")) {
            guard let end = rest[start...].firstIndex(of: UInt8(ascii: ">")) else { return nil }
            var inside = rest[(start + 1)..<end]
            rest = rest[(end + 1)...]
            if isClosing {
                guard inside.first == UInt8(ascii: "/") else { continue }
                inside = inside.dropFirst()
            }
            // An element without content has nothing to tell.
            if inside.last == UInt8(ascii: "/") { continue }
            let word = inside.prefix { $0 != 0x20 && !(9...13).contains($0) }
            let local = word.lastIndex(of: UInt8(ascii: ":")).map { word[($0 + 1)...] } ?? word
            if local.elementsEqual(name.utf8) { return start..<end + 1 }
        }
        return nil
    }
}

/// What is said to gateways in UPnP, and what comes back.
enum UPnPText {
    static let group = SocketAddress(IPAddress(ipv4: 0xEFFF_FFFA), port: 1900)
    static let searchTargets = [1, 2].map { "urn:schemas-upnp-org:device:InternetGatewayDevice:\($0)" }
    /// The services that map ports, the best first.
    static let serviceTypes = [
        "urn:schemas-upnp-org:service:WANIPConnection:2", "urn:schemas-upnp-org:service:WANIPConnection:1",
        "urn:schemas-upnp-org:service:WANPPPConnection:1",
    ]

    static func search(_ target: String) -> [UInt8] {
        Array(
            """
            M-SEARCH * HTTP/1.1\r
            HOST: 239.255.255.250:1900\r
            MAN: "ssdp:discover"\r
            MX: 1\r
            ST: \(target)\r
            \r\n
            """.utf8
        )
    }

    /// The description's place, out of an answer to a search.
    static func location(_ datagram: Span<UInt8>) -> GatewayURL? {
        guard datagram.count <= 2048 else { return nil }
        let lines = String(decoding: datagram.toArray(), as: UTF8.self).split(whereSeparator: \.isNewline)
        guard let status = lines.first, status.hasPrefix("HTTP/1."), status.dropFirst(8).hasPrefix(" 200") else {
            return nil
        }
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == "location" else { continue }
            return GatewayURL(line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
        }
        return nil
    }

    static func get(_ url: GatewayURL) -> [UInt8] {
        Array("GET \(url.path) HTTP/1.1\r\nHost: \(url.address)\r\nConnection: close\r\n\r\n".utf8)
    }

    static func call(
        _ action: String,
        _ service: String,
        _ arguments: [(String, String)],
        at url: GatewayURL
    ) -> [UInt8] {
        let fields = arguments.map { "<\($0.0)>\(escaped($0.1))</\($0.0)>" }.joined()
        let body = """
            <?xml version="1.0"?>
            <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" \
            s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>\
            <u:\(action) xmlns:u="\(service)">\(fields)</u:\(action)></s:Body></s:Envelope>
            """
        let head = """
            POST \(url.path) HTTP/1.1\r
            Host: \(url.address)\r
            Content-Type: text/xml; charset="utf-8"\r
            Content-Length: \(body.utf8.count)\r
            SOAPAction: "\(service)#\(action)"\r
            Connection: close\r
            \r\n
            """
        return Array(head.utf8) + Array(body.utf8)
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }

    /// The best service of a description with the place to control it.
    static func service(in description: [UInt8], at base: GatewayURL) -> (type: String, control: GatewayURL)? {
        let root = XMLScanner.text("URLBase", in: description[...]).flatMap { GatewayURL($0, relativeTo: base) } ?? base
        let services = XMLScanner.elements("service", in: description[...])
        for type in serviceTypes {
            for service in services where XMLScanner.text("serviceType", in: service) == type {
                guard let text = XMLScanner.text("controlURL", in: service), !text.isEmpty,
                    let control = GatewayURL(text, relativeTo: root)
                else { continue }
                return (type, control)
            }
        }
        return nil
    }

    /// What limits a gateway's web server to: a description is a few kilobytes.
    static var limits: HTTPLimits {
        var limits = HTTPLimits()
        limits.bodyBytes = 65_536
        limits.headBytes = 8192
        return limits
    }
}
