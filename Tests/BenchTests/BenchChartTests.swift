import Testing

@testable import Bench

@Suite struct BenchChartTests {
    static func line(_ label: String, _ microseconds: String, row: String = "a load", p99: String = "250.5") -> String {
        """
        {"label":"\(label)","server":"192.0.2.1:3478","load":"channels","direction":"both","clients":10,"packetBytes":172,\
        "burst":1,"packetsPerSecond":null,"operationsPerSecond":200000,"serverMicroseconds":\(microseconds),\
        "bytesPerAllocation":1000,"p99":\(p99),"row":"\(row)"}
        """
    }

    @Test func `rounds of one load and label make one bar with their median`() throws {
        let lines = [
            Self.line("ours", "3.5"), Self.line("theirs", "8"), Self.line("ours", "2.5"), Self.line("ours", "9"),
        ]
        let chart = try BenchChart(lines: lines.joined(separator: "\n") + "\n", of: .processor)
        #expect(
            chart.groups == [
                .init(
                    title: "a load",
                    bars: [.init(label: "ours", values: [3.5, 2.5, 9]), .init(label: "theirs", values: [8])]
                )
            ]
        )
        #expect(chart.groups[0].bars[0].median == 3.5)
        #expect(BenchChart.Bar(label: "", values: [4, 1, 2, 9]).median == 3)
        #expect(chart.labels == ["ours", "theirs"])
        #expect(chart.svg.contains(">3.50</text>") && chart.svg.contains("median of 3 rounds"))
    }

    @Test func `a load without a name is named by its options, and a result without label by the server`() throws {
        let line =
            #"{"label":"","server":"192.0.2.1:3478","load":"allocations","direction":"both","clients":10,"#
            + #""packetBytes":172,"burst":1,"packetsPerSecond":null,"operationsPerSecond":2,"serverMicroseconds":1}"#
        let chart = try BenchChart(lines: line, of: .rate)
        #expect(chart.groups == [.init(title: "10 allocations", bars: [.init(label: "192.0.2.1:3478", values: [2])])])
        #expect(chart.svg.contains("one round"))
    }

    @Test(arguments: BenchChart.Quantity.allCases)
    func `every quantity is drawn, whatever its size`(quantity: BenchChart.Quantity) throws {
        for value in ["0", "0.0004", "7", "99.96", "123456789"] {
            let chart = try BenchChart(lines: Self.line("a", value, p99: value), of: quantity)
            let svg = chart.svg
            #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
            #expect(!svg.contains("nan") && !svg.contains("inf"))
            #expect(svg.components(of: "<line class=\"grid\"") <= 10)
        }
    }

    @Test func `names are escaped`() throws {
        let svg = try BenchChart(lines: Self.line("<a&b>", "1"), of: .processor).svg
        #expect(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&b>"))
    }

    @Test func `a line that is none, and a quantity that is nowhere, are told`() {
        #expect(throws: BenchError("line 2 is not one that 'floe bench --json' prints")) {
            try BenchChart(lines: Self.line("a", "1") + "\nhello", of: .processor)
        }
        #expect(throws: BenchError("no line has a value for 'processor'")) {
            try BenchChart(lines: Self.line("a", "null"), of: .processor)
        }
    }
}

extension String {
    /// How often a text is in it.
    fileprivate func components(of text: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: text) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
