import FoundationEssentials
import Transport

/// What a look-up of sockets (`--io sk_lookup`) wants of the system.
enum LookupSetup {
    /// What is missing and what to do, as it follows a semicolon.
    static var advice: String {
        let needed = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_BPF", 39)]
        let missing = needed.filter { effective >> $0.1 & 1 == 0 }.map(\.0)
        guard !missing.isEmpty else {
            return "'--io sk_lookup' takes Linux 5.9 and a container or service that may call bpf()"
        }
        return "'--io sk_lookup' takes \(missing.joined(separator: " and ")), which the process does not have: "
            + "grant it (AmbientCapabilities= of systemd, --cap-add of Docker)"
    }

    /// The capabilities of this process, a bit each; all, if the system does not tell.
    private static var effective: UInt64 {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
            let bits = UInt64(line.dropFirst(7).filter { !$0.isWhitespace }, radix: 16)
        else { return .max }
        return bits
    }

    /// What the operator should know if the system may give relay ports to other programs.
    ///
    /// With other back ends the kernel knows which ports are relayed, for they have sockets.
    static func warning(_ options: ServeOptions) -> String? {
        guard options.io == .socketLookup, let automatic = ranges("ip_local_port_range").first,
            automatic.overlaps(options.relayPorts)
        else { return nil }
        let shared = options.relayPorts.clamped(to: automatic)
        let reserved = ranges("ip_local_reserved_ports")
        guard !shared.allSatisfy({ port in reserved.contains { $0.contains(port) } }) else { return nil }
        let wanted = "\(options.relayPorts.lowerBound)-\(options.relayPorts.upperBound)"
        return "The system may give relay ports to other programs, whose datagrams --io sk_lookup would then take: "
            + "reserve them with 'sysctl net.ipv4.ip_local_reserved_ports=\(wanted)'."
    }

    /// Ranges of ports as the kernel writes them: `32768 60999`, `8080,9000-9010`.
    static func ranges(_ name: String) -> [ClosedRange<UInt16>] {
        guard let text = try? String(contentsOfFile: "/proc/sys/net/ipv4/\(name)", encoding: .utf8) else { return [] }
        return text.split { $0 == "," || $0 == "\n" }.compactMap { item in
            let ends = item.split { $0 == "-" || $0 == "\t" || $0 == " " }.compactMap { UInt16($0) }
            guard let first = ends.first, let last = ends.last, first <= last else { return nil }
            return first...last
        }
    }
}
