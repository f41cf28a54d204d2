import CommandLineSupport
import Testing

@Suite struct ParsedArgumentsTests {
    private let command = CommandSpecification(
        "serve",
        "Serves.",
        [
            (
                "Ports",
                [
                    OptionSpecification("port", "N", standard: "3478", help: "the port"),
                    OptionSpecification("listen", "ADDRESS", repeats: true, help: "where to listen"),
                    OptionSpecification("quiet", help: "says less"),
                ]
            )
        ]
    )

    @Test func `values are read with a blank and with an equals sign`() throws {
        let arguments = try ParsedArguments(["--port", "80", "--listen=a", "--listen", "b", "--quiet"], for: command)
        #expect(try arguments.number("port", in: 1...65535) == 80)
        #expect(arguments.texts("listen") == ["a", "b"])
        #expect(arguments.has("quiet"))
        #expect(!arguments.wantsHelp)
    }

    @Test func `a command that takes a word gets one, and no second`() throws {
        let command = CommandSpecification(
            "look",
            "Looks.",
            [("What", [OptionSpecification("far", help: "looks far")])],
            operand: "PLACE"
        )
        #expect(try ParsedArguments(["--far", "there"], for: command).operand == "there")
        #expect(try ParsedArguments(["--far"], for: command).operand == nil)
        #expect(throws: UsageError.self) { try ParsedArguments(["here", "there"], for: command) }
        #expect(command.help(program: "floe").contains("Usage: floe look PLACE [options]"))
    }

    @Test(arguments: [
        (["--prot", "1"], "'serve' has no option '--prot'; did you mean '--port'?"),
        (["--zzzzzz"], "'serve' has no option '--zzzzzz'; see '--help'."),
        (["port"], "'port' is not an option of 'serve'; options begin with two dashes."),
        (["--port"], "Option '--port' needs a value: --port N."),
        (["--port="], "Option '--port' needs a value: --port N."),
        (["--quiet=1"], "Option '--quiet' takes no value."),
        (["--port", "1", "--port", "2"], "Option '--port' is given twice."),
    ])
    func `a mistake is one sentence`(words: [String], sentence: String) {
        #expect(throws: UsageError(sentence)) { try ParsedArguments(words, for: command) }
    }

    @Test(arguments: ["x", "0", "65536", "-1", "1.5"])
    func `a number outside of its range is refused with the range`(text: String) throws {
        let arguments = try ParsedArguments(["--port", text], for: command)
        #expect(throws: UsageError("'\(text)' is not right for '--port': it takes a whole number from 1 to 65535.")) {
            try arguments.number("port", in: 1...65535)
        }
    }

    @Test func `the help names every option, its value and its default`() {
        let help = command.help(program: "floe")
        #expect(help.contains("Usage: floe serve [options]"))
        #expect(help.contains("  --port N                    the port (default: 3478)"))
        #expect(help.contains("--listen ADDRESS …"))
        #expect(help.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }
}
