import CommandLineSupport
import EventLoop
import NetTypes
import Transport

/// This machine's addresses.
struct Machine {
    /// Every address with what the choice of relay addresses needs to know.
    let candidates: [RelayAddressing.Candidate]

    /// Asks the system.
    ///
    /// - Throws: a sentence, if it does not tell.
    init() throws(UsageError) {
        do throws(SystemError) {
            let sources = AddressFamily.allCases.compactMap { NetworkInterfaces.defaultSource($0) }
            candidates = try NetworkInterfaces.list().filter(\.isUp).map { interface in
                RelayAddressing.Candidate(
                    interface: interface.name,
                    address: interface.address,
                    isDefaultSource: sources.contains(interface.address)
                )
            }
        } catch {
            throw UsageError("\(error)")
        }
    }

    /// All addresses.
    var addresses: [IPAddress] { candidates.map(\.address) }
}

/// Where the services listen: the named addresses, or all of both families.
struct ListeningAddresses {
    let addresses: [IPAddress]

    init(_ options: ServeOptions) {
        guard options.listen.isEmpty else {
            addresses = options.listen
            return
        }
        // A kernel without IPv6 refuses its wildcard; a server that was asked for nothing special then does without.
        let hasIPv6 = (try? UDPSocket.checkAvailable(SocketAddress(.unspecified(.ipv6), port: 0))) != nil
        addresses = [.unspecified(.ipv4)] + (hasIPv6 ? [.unspecified(.ipv6)] : [])
    }
}
