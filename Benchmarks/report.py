"""The page and the charts that `make bench` writes."""

import json
import pathlib
import platform
import re
import statistics
import subprocess

from loads import COTURN, MINIMAL, VARIANTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = """\
# Benchmarks

Written by `make bench` ({commit}, {date}); not to be changed by hand. `make bench ROUNDS=3 LOADS=loopback-100` measures
less, `Benchmarks/run --help` says what else can be chosen, [Performance.md](Performance.md) what it means. Each line of
[results.jsonl](benchmarks/results.jsonl) is one measurement by `floe bench`.

| | |
|---|---|
| processor | {processor}, 2 of {count} used: one for the server, one for the generator |
| kernel | Linux {kernel} |
| coturn | {coturn}, `-m 1` |
| rounds | {rounds}, {seconds:.0f} s for each measurement after 1 s of warm-up, a fresh server each time |
| other programs | took {other:.0f} % of one processor in the middle of all measurements, {worst:.0f} % at worst |
{absent}
Within a round all servers are measured in turn, load by load. A cell is the median of the rounds, with the least and the
greatest; a ratio is formed within its round. Figures of different rounds and machines must not be compared; ratios may.
The C relay ([relay.c](../Benchmarks/relay.c)) forwards as Floe's epoll back end does and does nothing else: it is what
such a design can reach. Without a rate 512 packets are on their way; between namespaces 256, for more the ring of a
veth pair does not hold; 2048 in bursts. From 1000 clients on, all of them are one socket of the generator, each with an
address of its own: a thousand sockets would make the generator slower still. Where `ownLoad` in a line is 1, or between
namespaces with what the thread that receives for the generator took, the generator was the slower side all the same.
"""


def brief(result):
    """A result in a few words, for the terminal."""
    words = [f"{result['serverMicroseconds']:.2f} µs each"]
    if result["packetsPerSecond"]:
        words.append(f"99 % within {result['p99']:.0f} µs, {result['lost']} of {result['sent']} lost")
    if result["load"] == "allocations":
        words.append(f"{result['bytesPerAllocation']} bytes")
    if result["otherLoad"] > 0.1:
        words.append(f"disturbed: others used {result['otherLoad']:.2f} of a processor")
    return ", ".join(words)


class Table:
    """Values of a field by load, server and round."""

    def __init__(self, results):
        self.results = results

    def values(self, row, name, field):
        return {each["round"]: each[field] for each in self.results
                if each["row"] == row and each["label"] == name and each[field] is not None}

    def ratios(self, row, upper, lower, field="serverMicroseconds"):
        above, below = self.values(row, upper, field), self.values(row, lower, field)
        return {number: above[number] / below[number] for number in above if below.get(number)}

    def rows(self):
        return list(dict.fromkeys(each["row"] for each in self.results))

    def names(self):
        present = {each["label"] for each in self.results}
        return [variant.name for variant in VARIANTS if variant.name in present]

    def only(self, **fields):
        return Table([each for each in self.results if all(each[key] == value for key, value in fields.items())])


def cell(values, digits=2):
    if not values:
        return "-"
    parts = [f"{value:,.{digits}f}".replace(",", " ")
             for value in (statistics.median(values.values()), min(values.values()), max(values.values()))]
    return f"{parts[0]} ({parts[1]} to {parts[2]})" if len(values) > 1 else parts[0]


def grid(head, lines):
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines]) + "\n"


def processor_tables(table):
    names, ours = table.names(), [name for name in table.names() if name not in (COTURN, MINIMAL)]
    text = "Server's processor time for each packet, request or allocation, in microseconds; less is better.\n\n"
    text += grid(["load", *names], [[row, *(cell(table.values(row, name, "serverMicroseconds")) for name in names)]
                                    for row in table.rows()])
    for upper, words in ((COTURN, "coturn's time over ours; more is better"),
                         (MINIMAL, "The C relay's time over ours; 1 is the limit of its design")):
        if upper in names and ours:
            text += f"\n{words[0].upper() + words[1:] if upper == MINIMAL else words}.\n\n"
            text += grid(["load", *ours], [[row, *(cell(table.ratios(row, upper, name)) for name in ours)]
                                           for row in table.rows()])
    return text


def paced_table(table):
    lines = []
    for row in table.rows():
        for name in table.names():
            sent, lost = table.values(row, name, "sent"), table.values(row, name, "lost")
            shares = {number: 100 * lost[number] / sent[number] for number in sent if sent[number]}
            lines.append([row, name, *(cell(table.values(row, name, field), 0) for field in ("p50", "p99")), cell(shares)])
    return grid(["load", "server", "median latency, µs", "99 %, µs", "lost, %"], lines)


def allocation_table(table):
    lines = []
    for name in table.names():
        for row in table.rows():
            times = table.values(row, name, "serverMicroseconds")
            lines.append([
                name, cell({number: 1e6 / time for number, time in times.items() if time}, 0),
                cell(table.ratios(row, COTURN, name)), cell(table.values(row, name, "bytesPerAllocation"), 0),
                cell(table.ratios(row, COTURN, name, "bytesPerAllocation"), 1),
            ])
    return grid(["server", "handshakes a second and processor", "coturn's time over its", "bytes of memory each",
                 "coturn's memory over its"], lines)


def chart(program, results, what, path, directory):
    """Has the program draw a chart of results."""
    lines = pathlib.Path(directory) / "chart.jsonl"
    lines.write_text("".join(json.dumps(each) + "\n" for each in results))
    done = subprocess.run([program, "bench", "--chart", lines, "--chart-of", what], capture_output=True, text=True,
                          check=True)
    path.write_text(done.stdout)


def told(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def write(results, absent, output, program, directory):
    """Writes the page, the lines and the charts below a directory."""
    folder = output / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in results))
    others = [each["otherLoad"] for each in results]
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    text = PAGE.format(
        commit=told("git", "describe", "--always", "--dirty"), date=told("date", "-u", "+%Y-%m-%d"),
        processor=model[1] if model else platform.machine(), kernel=platform.release(),
        count=pathlib.Path("/proc/cpuinfo").read_text().count("processor\t"),
        coturn=told("dpkg-query", "-W", "-f", "${Version}", "coturn"),
        rounds=max(each["round"] for each in results), seconds=results[0]["seconds"],
        other=100 * statistics.median(others), worst=100 * max(others),
        absent="".join(f"| {name} | not measured: {reason} |\n" for name, reason in absent.items()),
    )
    table = Table(results)
    for place, title in (("loopback", "On loopback"), ("namespaces", "Between two namespaces")):
        part = table.only(place=place)
        if not part.results:
            continue
        text += f"\n## {title}\n\n"
        if place == "loopback":
            text += "The server's time holds the reception by its peer as well: on loopback the sender does that work.\n"
        else:
            text += ("A veth pair with GRO and NAPI threads, as with network cards: the server's time holds that of the "
                     "thread\nthat receives for it. Senders finish checksums, but for bursts: these travel in one piece, and "
                     "the kernel's\nfast path leaves them to user space, which is io_uring there.\n")
        text += f"\n![Processor time]({folder.name}/{place}.svg)\n\n{processor_tables(part)}"
        chart(program, part.results, "processor", folder / f"{place}.svg", directory)
    paced = Table([each for each in results if each["packetsPerSecond"]])
    if paced.results:
        text += f"\n## Latency at a given rate\n\n![Latency]({folder.name}/latency.svg)\n\n"
        text += paced_table(paced)
        chart(program, paced.results, "latency", folder / "latency.svg", directory)
    made = table.only(load="allocations")
    if made.results:
        text += f"\n## Allocations\n\n![Memory]({folder.name}/memory.svg)\n\n{allocation_table(made)}"
        chart(program, made.results, "memory", folder / "memory.svg", directory)
    (output / "Benchmarks.md").write_text(text)
    print(f"Written: {output / 'Benchmarks.md'}")
