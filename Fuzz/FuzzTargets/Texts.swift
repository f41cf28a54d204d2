import Bytes
import CommandLineSupport
import Diagnostics
import NetTypes
import Server

func runText(_ input: Span<UInt8>) -> Bool {
    let text = String(decoding: input.toArray(), as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var isUnderstood = false
    for line in lines {
        let readings = [
            isStable(IPAddress.self, line), isStable(SocketAddress.self, line), isStable(IPPrefix.self, line),
            isStable(ServeOptions.ExternalAddress.self, line), isStable(ServeOptions.PortRange.self, line),
            isStable(LogLevel.self, line),
        ]
        if readings.contains(true) { isUnderstood = true }
        _ = ServeOptions.StaticUser(line)
        checkEncodings(line)
    }
    do throws(UsageError) {
        _ = try ServeOptions(ParsedArguments(lines, for: ServeCommand.specification))
        return true
    } catch {
        precondition(!error.description.isEmpty, "a mistake without a sentence")
        return isUnderstood
    }
}

/// Reads a value, writes it and reads it again; `false` if the text is none, traps if both readings differ.
private func isStable<Value: LosslessStringConvertible & Equatable>(_ type: Value.Type, _ text: String) -> Bool {
    guard let value = Value(text) else { return false }
    precondition(Value(value.description) == value, "a \(type) is not read as it was written")
    return true
}

private func checkEncodings(_ text: String) {
    if let bytes = Hex.decode(text) {
        precondition(Hex.decode(Hex.encode(bytes)) == bytes, "hexadecimal digits are not read as they were written")
    }
    for alphabet in [Base64.Alphabet.standard, .url] {
        guard let bytes = Base64.decode(text, alphabet) else { continue }
        let again = Base64.decode(Base64.encode(bytes, alphabet), alphabet)
        precondition(again == bytes, "base 64 is not read as it was written")
    }
}
