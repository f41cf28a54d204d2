import PeerTools

/// What `floe doctor` prints of one machine.
enum DoctorText {
    static func text(_ found: Examination) -> String {
        var rows: [(String, String)] = []
        for interface in found.interfaces {
            let route = interface.isDefaultRoute ? ", default route" : ""
            rows.append((interface.name, interface.addresses.joined(separator: ", ") + " (\(interface.kind)\(route))"))
        }
        rows += found.ways.map { way in
            let trip = way.roundTripMilliseconds.min().map { "open, \($0) ms" } ?? "open"
            return ("\(way.transport) \(way.server)", way.isOpen ? trip : way.failure ?? "no answer")
        }
        if let nat = found.nat {
            if let mapped = nat.mappedAddress { rows.append(("seen from outside", mapped)) }
            rows.append(("mapping", nat.mapping ?? "not known"))
            rows.append(("filtering", nat.filtering ?? "not known"))
        }
        if let longest = found.packetLength?.longest {
            let lost = found.packetLength?.shortestLost.map { ", not \($0)" } ?? " at least"
            rows.append(("packet length", "\(longest) bytes\(lost)"))
        }
        rows += found.gateways.map { gateway in
            (
                "\(gateway.name) \(gateway.gateway)",
                gateway.external.map { "opens \($0)" } ?? gateway.failure ?? "nothing"
            )
        }
        rows += found.candidates.map { ("candidate", $0) }
        rows += found.serverFailures.map { ("no relay", $0) }
        let width = rows.map(\.0.count).max() ?? 0
        let table = rows.map { name, value in
            "  " + name + String(repeating: " ", count: width - name.count + 2) + value + "\n"
        }
        return table.joined() + "\n" + found.verdict.map { $0 + "\n" }.joined()
    }
}
