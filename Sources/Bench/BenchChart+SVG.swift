extension BenchChart {
    private static let width = 780.0
    /// Where bars begin, and how long the longest may be.
    private static let left = 170.0
    private static let barWidth = 500.0
    private static let barHeight = 15.0
    private static let barStep = 19.0
    private static let top = 74.0

    /// The colours of bars on light and on dark pages, in the order of the labels; further labels begin anew.
    private static let colours = [
        ("#2a78d6", "#3987e5"), ("#1baf7a", "#199e70"), ("#4a3aa7", "#9085e9"), ("#eb6834", "#d95926"),
        ("#898781", "#898781"), ("#eda100", "#c98500"),
    ]

    /// The chart as a document of its own, which follows the reader's choice of light or dark.
    public var svg: String {
        let rows = groups.reduce(0) { $0 + Double($1.bars.count) * Self.barStep + 32 }
        let height = Self.top + rows + 30
        let heading = Self.words[quantity] ?? ("", "", "")
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Self.number(Self.width)) \(Self.number(height))" \
            width="\(Self.number(Self.width))" height="\(Self.number(height))" role="img" \
            aria-label="\(Self.escaped(heading.title))">
            \(style)
            <rect class="page" width="100%" height="100%" rx="6"/>
            <text class="title" x="20" y="30">\(Self.escaped(heading.title))</text>
            <text class="note" x="20" y="50">\(Self.escaped("\(heading.note); \(roundsNote)"))</text>

            """
        text += axis(to: Self.top + rows, unit: heading.unit)
        var y = Self.top
        for group in groups {
            text += "<text class=\"load\" x=\"20\" y=\"\(Self.number(y + 14))\">\(Self.escaped(group.title))</text>\n"
            y += 22
            for bar in group.bars {
                text += drawing(bar, at: y)
                y += Self.barStep
            }
            y += 10
        }
        return text + "</svg>\n"
    }

    private static let words: [Quantity: (title: String, note: String, unit: String)] = [
        .processor: (
            "Processor time of the server for each packet, request or allocation", "microseconds, less is better", "µs"
        ),
        .latency: ("Time that 99 % of the packets did not exceed", "microseconds, less is better", "µs"),
        .memory: ("Memory of the server for each allocation", "bytes, less is better", "bytes"),
        .rate: ("Packets, requests or allocations a second", "more is better", "a second"),
    ]

    private var roundsNote: String {
        let most = groups.flatMap(\.bars).map(\.values.count).max() ?? 1
        return most == 1 ? "one round" : "median of \(most) rounds, line from least to greatest"
    }

    private var style: String {
        let light = Self.colours.enumerated().map { ".c\($0.offset) { fill: \($0.element.0) }" }
        let dark = Self.colours.enumerated().map { ".c\($0.offset) { fill: \($0.element.1) }" }
        return """
            <style>
            text { font: 12px system-ui, sans-serif; fill: #0b0b0b }
            .title { font-size: 15px; font-weight: 600 } .load { font-weight: 600 }
            .note, .tick { fill: #52514e } .label { text-anchor: end } .tick { font-size: 11px; text-anchor: middle }
            .page { fill: #fcfcfb } .grid { stroke: #e1e0d9 } .range { stroke: #0b0b0b; stroke-width: 1.5 }
            \(light.joined(separator: " "))
            @media (prefers-color-scheme: dark) {
            text { fill: #ffffff } .note, .tick { fill: #c3c2b7 } .page { fill: #1a1a19 }
            .grid { stroke: #2c2c2a } .range { stroke: #ffffff }
            \(dark.joined(separator: " "))
            }
            </style>
            """
    }

    private func drawing(_ bar: Bar, at y: Double) -> String {
        let colour = (labels.firstIndex(of: bar.label) ?? 0) % Self.colours.count
        let middle = y + Self.barHeight / 2
        let least = position(bar.values.min() ?? 0)
        let greatest = position(bar.values.max() ?? 0)
        let length = max(1, position(bar.median) - Self.left)
        var text = """
            <text class="label" x="\(Self.number(Self.left - 8))" y="\(Self.number(middle + 4))">\
            \(Self.escaped(bar.label))</text>
            <rect class="c\(colour)" x="\(Self.number(Self.left))" y="\(Self.number(y))" \
            width="\(Self.number(length))" height="\(Self.number(Self.barHeight))" rx="2"/>

            """
        if greatest - least >= 1 {
            text += """
                <line class="range" x1="\(Self.number(least))" y1="\(Self.number(middle))" \
                x2="\(Self.number(greatest))" y2="\(Self.number(middle))"/>

                """
        }
        let end = max(greatest, Self.left + length)
        return text + """
            <text x="\(Self.number(end + 8))" y="\(Self.number(middle + 4))">\(Self.value(bar.median))</text>

            """
    }

    private func axis(to bottom: Double, unit: String) -> String {
        var text = ""
        for tick in 0...ticks {
            let value = Double(tick) * step
            let x = Self.number(position(value))
            text += """
                <line class="grid" x1="\(x)" y1="\(Self.number(Self.top - 6))" x2="\(x)" y2="\(Self.number(bottom))"/>
                <text class="tick" x="\(x)" y="\(Self.number(bottom + 16))">\(Self.tick(value))\
                \(tick == ticks ? " " + unit : "")</text>

                """
        }
        return text
    }

    // MARK: Scale

    private var greatest: Double { max(groups.flatMap(\.bars).flatMap(\.values).max() ?? 1, 1e-9) }

    private var ticks: Int { Int((greatest / step).rounded(.up)) }

    /// The distance of two lines of the grid: 1, 2 or 5 times a power of ten, so that there are three to seven.
    private var step: Double {
        var power = 1e-9
        while power * 10 * 3 <= greatest { power *= 10 }
        for factor in [5.0, 2.0] where power * factor * 3 <= greatest { return power * factor }
        return power
    }

    private func position(_ value: Double) -> Double {
        Self.left + value / (Double(ticks) * step) * Self.barWidth
    }

    // MARK: Text

    private static func escaped(_ text: String) -> String {
        text.unicodeScalars.map { scalar in
            switch scalar {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            default: "\(scalar)"
            }
        }
        .joined()
    }

    /// A coordinate, to a tenth.
    private static func number(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

    private static func tick(_ value: Double) -> String {
        value == value.rounded() ? spaced(Int(value)) : "\((value * 1000).rounded() / 1000)"
    }

    /// Three significant digits, or all before the point.
    private static func value(_ value: Double) -> String {
        guard value < 100 else { return spaced(Int(value.rounded())) }
        let (factor, digits) = value < 10 ? (100, 2) : (10, 1)
        let scaled = Int((value * Double(factor)).rounded())
        let fraction = String(scaled % factor)
        return "\(scaled / factor)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    private static func spaced(_ value: Int) -> String {
        var digits = Array(String(value))
        var index = digits.count - 3
        while index > 0 {
            digits.insert("\u{202F}", at: index)
            index -= 3
        }
        return String(digits)
    }
}
