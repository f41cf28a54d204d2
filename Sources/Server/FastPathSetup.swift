import CommandLineSupport
import Diagnostics
import EventLoop
import FastPath
import NetTypes
import Transport

/// The kernel's fast path, as `--fast-path` wishes it.
enum FastPathSetup {
    /// Loads it, or says in the log why it is off although it may be on.
    ///
    /// - Throws: a sentence, if named interfaces cannot be had.
    static func make(_ options: ServeOptions, logger: Logger) throws(UsageError) -> FastPath? {
        guard options.fastPath != .off else { return nil }
        do throws(UsageError) {
            let interfaces = try interfaces(options.fastPath)
            let path: FastPath
            do throws(SystemError) {
                path = try FastPath(interfaces: interfaces.map(\.index))
            } catch {
                let reason = SystemError.text(for: error.number)
                throw UsageError(
                    "'--fast-path': cannot \(error.operation): \(reason); it takes Linux 6.6, CAP_BPF and CAP_NET_ADMIN."
                )
            }
            logger.info("The fast path is on.", ["interfaces": .text(interfaces.map(\.name).joined(separator: " "))])
            return path
        } catch {
            guard options.fastPath == .auto else { throw error }
            logger.warning("The fast path is off.", ["error": .text(error.description)])
            return nil
        }
    }

    private static func interfaces(
        _ choice: ServeOptions.FastPathChoice
    ) throws(UsageError) -> [(name: String, index: UInt32)] {
        let all: [NetworkInterface]
        do throws(SystemError) { all = try NetworkInterfaces.list() } catch { throw UsageError("\(error)") }
        let usable = all.filter {
            $0.isUp && !$0.isLoopback && !$0.address.isLinkLocal && FastPath.suits($0.index)
        }
        let names: [String]
        switch choice {
        case .off: names = []
        case .auto: names = usable.map(\.name)
        case .interfaces(let wanted): names = wanted
        }
        var found: [(name: String, index: UInt32)] = []
        for name in names where !found.contains(where: { $0.name == name }) {
            guard let interface = usable.first(where: { $0.name == name }) else {
                throw UsageError("'--fast-path \(name)': no Ethernet interface of that name is up and has an address.")
            }
            found.append((name, interface.index))
        }
        guard !found.isEmpty else { throw UsageError("'--fast-path': no Ethernet interface is up and has an address.") }
        return found
    }
}
