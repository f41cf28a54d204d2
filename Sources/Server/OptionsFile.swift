import CommandLineSupport

/// The file of `--config`: options of `serve`, one in a line, as `name value`, without the dashes.
///
/// It is there because a process cannot be given another command line, but can read a file again.
enum OptionsFile {
    /// The command line's options, with those of the file that it names in front.
    ///
    /// - Throws: a sentence that names file and line, or the option.
    static func options(_ words: [String]) throws(UsageError) -> ServeOptions {
        let command = ServeCommand.specification
        let direct = try ParsedArguments(words, for: command)
        guard let path = direct.text("config") else { return try ServeOptions(direct) }
        let all = try ParsedArguments(try self.words(in: path, for: command) + words, for: command)
        var options = try ServeOptions(all)
        options.showsSecrets = ["user", "secret", "api-key"].contains(where: direct.has)
        return options
    }

    private static func words(in path: String, for command: CommandSpecification) throws(UsageError) -> [String] {
        var words: [String] = []
        for (number, line) in try Secrets.lines(path, option: "--config") {
            let name = String(line.prefix { !$0.isWhitespace && $0 != "=" })
            guard name != "config" else {
                throw UsageError("'\(path)', line \(number): a file of '--config' cannot name another one.")
            }
            // `name = value` is as good as `name value` and `name=value`.
            var value = line.dropFirst(name.count).trimmed
            if value.hasPrefix("=") { value = value.dropFirst().trimmed }
            let more = ["--" + name + (value.isEmpty ? "" : "=" + value)]
            do throws(UsageError) {
                _ = try ParsedArguments(more, for: command)
            } catch {
                throw UsageError("'\(path)', line \(number): \(error)")
            }
            words += more
        }
        return words
    }
}
