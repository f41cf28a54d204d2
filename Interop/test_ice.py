#!/usr/bin/env python3
"""ICE through kernel NATs: `floe doctor` alone, against itself and against aioice, and `floe pipe` with a file.

Each pair of NAT kinds must connect the way `floe simulate --matrix` says: directly, or over the TURN server.
aioice is Debian's (python3-aioice).
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys

from lab import Lab, Site, require_root_and_tools
from support import gateway, results, server
from support.results import eventually

OTHER_ADDRESS = "203.0.113.11"
USER, PASSWORD, REALM = "name", "password", "floe.test"
PYTHON = sys.executable
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "support", "aioice_peer.py")
# The lab's kinds, and what they are called in the simulator's table.
KINDS = {"open": "open", "fullcone": "full", "addressrestricted": "addr", "portrestricted": "port", "symmetric": "sym",
         "udpblocked": "udpblock", "udprejected": "udpblock", "tcp5349only": "tcp443"}
SERVERS = [f"--stun=stun:{server.ADDRESS}", f"--turn=turn:{server.ADDRESS}",
           f"--turn=turn:{server.ADDRESS}?transport=tcp", f"--turn=turns:{server.ADDRESS}:5349?transport=tcp",
           f"--user={USER}", f"--password={PASSWORD}", "--insecure"]


def simulated(binary):
    """How each pair of kinds connects in the simulated internet: the table that the kernel's NATs must agree with."""
    text = subprocess.run([binary, "simulate", "--matrix"], capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    start = max(number for number, row in enumerate(rows) if row[0].startswith("from"))
    columns = rows[start][1:]
    words = {"D": "direct", "R": "relayed"}
    table = {(row[0], column): words[cell[0]] for row in rows[start + 2:] for column, cell in zip(columns, row[1:])}
    return {(one, other): table[KINDS[one], KINDS[other]] for one in KINDS for other in KINDS}


class Ends:
    """The places of two ends, their processes and their codes."""

    def __init__(self, binary, directory, name):
        self.binary = binary
        self.directory = os.path.join(directory, "".join(c if c.isalnum() else "-" for c in name))
        os.makedirs(self.directory, exist_ok=True)
        self.processes = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, namespace, *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        log = open(self.path(f"{len(self.processes)}.log"), "w")
        # Who runs these tests in the background may have ignored the signal, and so would what they start.
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdin=stdin, stdout=stdout, stderr=log,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        log.close()
        self.processes.append(process)
        return process

    def floe(self, namespace, command, is_offer, *options, **streams):
        own, other = ("offer", "answer") if is_offer else ("answer", "offer")
        way = ["--offer", "--code-from", self.path(other)] if is_offer else ["--answer", "@" + self.path(other)]
        if not is_offer:
            eventually("the offer is written", lambda: os.path.exists(self.path(other)), 60)
        return self.start(namespace, self.binary, command, *way, "--code-to", self.path(own), *options, **streams)

    def aioice(self, namespace, is_offer, *turn):
        names = ("offer", "answer") if is_offer else ("answer", "offer")
        return self.start(namespace, PYTHON, PEER, names[0], *map(self.path, names), *turn)

    def output(self, process, timeout=60):
        try:
            text = process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{process.args[4:7]} did not end; {self.logs()}") from None
        assert text, f"{process.args[4:7]} printed nothing; {self.logs()}"
        return json.loads(text)

    def code(self, process, timeout):
        """The exit code of a process; who does not end says what it has said."""
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            states = [each.poll() for each in self.processes]
            raise AssertionError(f"{process.args[4:7]} did not end; exit codes {states}: {self.logs()}") from None

    def log(self, number):
        with open(self.path(f"{number}.log")) as file:
            return file.read()

    def logs(self):
        return " | ".join(self.log(number)[-300:] for number in range(len(self.processes)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
            process.communicate()


def agents(binary, directory, one, other, outcome, *options):
    with Ends(binary, directory, f"{one.kind} {other.kind} {one.short} {other.short} {options}") as ends:
        first = ends.floe(one.namespace, "doctor", True, "--json", *SERVERS, *options)
        second = ends.floe(other.namespace, "doctor", False, "--json", *SERVERS, *options)
        reports = ends.output(first), ends.output(second)
        for found in reports:
            assert len(found["roundTripMilliseconds"]) >= 5, f"pings were lost: {found}"
            assert found["outcome"] == outcome, f"{found['outcome']}, not {outcome}: {found}; {ends.logs()}"
        return reports


def concealed(binary, directory, one, other):
    """Two hosts of one network that show names in place of addresses find each other, and learn no address."""
    for found in agents(binary, directory, one, other, "direct", "--conceal"):
        assert all(".local" in line or " typ host" not in line for line in found["candidates"]), found
        assert "remote" not in found, f"the other one's address is told: {found}"


def against_aioice(binary, directory, one, other, is_offer, outcome):
    turn = [server.ADDRESS, USER, PASSWORD]
    options = SERVERS[:2] + SERVERS[4:]
    with Ends(binary, directory, f"aioice {one.kind} {other.kind} {one.short} {other.short} {is_offer}") as ends:
        if is_offer:
            ours = ends.floe(one.namespace, "doctor", True, "--json", *options)
            theirs = ends.aioice(other.namespace, False, *turn)
        else:
            theirs = ends.aioice(other.namespace, True, *turn)
            ours = ends.floe(one.namespace, "doctor", False, "--json", *options)
        found, their = ends.output(ours), ends.output(theirs)
        assert their["connected"] and their["pings"] >= 5, f"aioice: {their}, floe: {found}"
        assert len(found["roundTripMilliseconds"]) >= 5, f"pings were lost: {found}"
        # Who offers nominates, and aioice takes the first pair that works: on a busy machine that may be a relayed one.
        good = {outcome} if is_offer else {outcome, "relayed"}
        assert found["outcome"] in good, f"{found['outcome']}, not {outcome}: {found}"


def pipe(binary, directory, one, other, size, *options, path=""):
    content = os.urandom(size)
    with Ends(binary, directory, f"pipe {one.kind} {other.kind} {path} {options}") as ends:
        with open(ends.path("in"), "wb") as file:
            file.write(content)
        with open(ends.path("in"), "rb") as source, open(ends.path("out"), "wb") as sink:
            first = ends.floe(one.namespace, "pipe", True, *SERVERS, *options, stdin=source)
            second = ends.floe(other.namespace, "pipe", False, "--receive", *SERVERS, *options, stdout=sink)
            codes = [ends.code(process, 120) for process in (first, second)]
        assert codes == [0, 0], f"exit codes {codes}: {ends.logs()}"
        assert all(f"connected {path}" in ends.log(number) for number in (0, 1)), ends.logs()
        with open(ends.path("out"), "rb") as file:
            assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest(), "other bytes arrived"


def cut_short(binary, directory, one, other, is_interrupted):
    """One end is interrupted, or who reads its output has enough: both ends say so, and neither claims to have succeeded."""
    with Ends(binary, directory, f"cut short {one.kind} {other.kind} {is_interrupted}") as ends:
        with open("/dev/zero", "rb") as source:
            first = ends.floe(one.namespace, "pipe", True, *SERVERS, stdin=source)
            second = ends.floe(other.namespace, "pipe", False, "--receive", *SERVERS)
            assert second.stdout.read(1 << 20) == bytes(1 << 20), ends.logs()
            if is_interrupted:
                second.send_signal(signal.SIGINT)
            else:
                second.stdout.close()
                second.stdout = None
            codes = [ends.code(process, 30) for process in (first, second)]
        assert codes == [1, 130 if is_interrupted else 1], f"exit codes {codes}: {ends.logs()}"
        assert "the other end has given up" in ends.log(0), ends.log(0)
        words = "it was interrupted" if is_interrupted else "whoever reads the output has ended"
        assert words in ends.log(1), ends.log(1)


def rendezvous(binary, directory, one, other, size):
    """A file over signaling: the second end runs what the first has printed."""
    content = os.urandom(size)
    with Ends(binary, directory, f"signaling {one.kind} {other.kind}") as ends:
        with open(ends.path("in"), "wb") as file:
            file.write(content)
        options = ["--insecure", "--no-mapping"]
        with open(ends.path("in"), "rb") as source, open(ends.path("out"), "wb") as sink:
            first = ends.start(one.namespace, binary, "pipe", "--server", f"https://{server.ADDRESS}:8443", *options,
                               stdin=source)
            words = eventually("the code is printed", lambda: re.findall("floe pipe '(.*)'", ends.log(0)), 20)
            second = ends.start(other.namespace, binary, "pipe", words[0], "--receive", *options, stdout=sink)
            codes = [ends.code(process, 60) for process in (first, second)]
        assert codes == [0, 0], f"exit codes {codes}: {ends.logs()}"
        with open(ends.path("out"), "rb") as file:
            assert file.read() == content, "other bytes arrived"


def together(binary, directory, one, other, outcome):
    """The doctor with a second person, over signaling."""
    with Ends(binary, directory, f"doctors {one.kind} {other.kind}") as ends:
        options = ["--json", "--insecure", "--no-mapping"]
        first = ends.start(one.namespace, binary, "doctor", "--server", f"https://{server.ADDRESS}:8443", "--with", "new",
                           *options)
        words = eventually("the code is printed", lambda: re.findall("--with '(.*)'", ends.log(0)), 20)
        second = ends.start(other.namespace, binary, "doctor", "--with", words[0], *options)
        for found in (ends.output(first), ends.output(second)):
            assert found["outcome"] == outcome, f"{found['outcome']}, not {outcome}: {found}; {ends.logs()}"


def alone(binary, directory, site, check):
    """The doctor on one machine: what it finds is what the lab has built."""
    with Ends(binary, directory, f"alone {site.kind}") as ends:
        command = ["doctor", "--json", "--insecure", "--server", f"https://{server.ADDRESS}:8443"]
        found = ends.output(ends.start(site.namespace, binary, *command))
        assert found["verdict"] and found["interfaces"], found
        check(found, {(way["transport"], way["server"].rpartition(":")[2]): way["isOpen"] for way in found["ways"]})


def behind_port_restricted(found, ways):
    assert all(ways[way] for way in (("UDP", "3478"), ("TCP", "3478"), ("TLS", "5349"), ("DTLS", "5349"))), ways
    assert ways["TLS", "8443"] and not ways["TLS", "443"], ways
    assert found["nat"]["mapping"] == "endpoint-independent", found["nat"]
    assert found["nat"]["filtering"] == "address-and-port-dependent", found["nat"]
    assert found["packetLength"]["longest"] == 1500, found["packetLength"]
    assert any(" typ relay" in line for line in found["candidates"]), found["candidates"]
    assert {gateway.get("external") for gateway in found["gateways"]} == {None}, found["gateways"]


def behind_blocked(found, ways):
    assert not ways["UDP", "3478"] and not ways["DTLS", "5349"] and ways["TCP", "3478"] and ways["TLS", "5349"], ways
    assert "UDP does not reach the server" in found["verdict"][0], found["verdict"]


def narrow(binary, directory, site):
    """A link of 1300 bytes whose router says nothing: the doctor finds how long packets may be."""
    def check(found, _):
        assert 1292 <= found["packetLength"]["longest"] <= 1300, found["packetLength"]
        assert found["packetLength"]["shortestLost"] <= 1308, found["packetLength"]

    site.nft("table ip narrow { chain forward { type filter hook forward priority 5; ip length > 1300 drop; }; }")
    try:
        alone(binary, directory, site, check)
    finally:
        site.nft("delete table ip narrow")


def mapped(binary, directory, site, other):
    """A gateway that opens ports by three protocols, and its users: where it takes a relay without it, none with it."""
    pipe(binary, directory, site, other, 1 << 20, "--no-mapping", path="over a relay")

    def check(found, _):
        external = {entry["name"]: entry.get("external") for entry in found["gateways"]}
        assert external.keys() == {"PCP", "NAT-PMP", "UPnP"}, found["gateways"]
        assert all((address or "").startswith(site.public + ":") for address in external.values()), found["gateways"]

    with gateway.Gateway(site, directory) as box:
        alone(binary, directory, site, check)
        pipe(binary, directory, site, other, 1 << 20, path="directly")
        assert "PCP MAP: added mapping" in box.log(), "PCP was not used"
        assert not box.mappings(), f"not given back: {box.mappings()}"
    with gateway.Gateway(site, directory, pcp=False, upnp=False) as box:
        agents(binary, os.path.join(directory, "natpmp"), site, other, "direct")
        assert "NAT-PMP port mapping request" in box.log(), "NAT-PMP was not used"
        assert not box.mappings(), f"not given back: {box.mappings()}"
    with gateway.Gateway(site, directory, pcp=False, natpmp=False) as box:
        agents(binary, directory, site, other, "direct")
        assert "AddAnyPortMapping" in box.log() or "AddPortMapping" in box.log(), "UPnP was not used"
        assert not box.mappings(), f"not given back: {box.mappings()}"


def test(options):
    require_root_and_tools("miniupnpd")
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24", f"{OTHER_ADDRESS}/24")
        left = {kind: Site(lab, f"l{n}", kind, 2 * n + 1) for n, kind in enumerate(KINDS)}
        right = {kind: Site(lab, f"r{n}", kind, 2 * n + 2) for n, kind in enumerate(KINDS)}
        same = left["portrestricted"].neighbour("neighbour")
        opening = Site(lab, "gateway", "symmetric", 60, public="44.128.0.60")
        table = simulated(binary)
        with server.FloeServer(binary, there, directory, "--listen", server.ADDRESS, "--realm", REALM, "--user",
                               f"{USER}:{PASSWORD}", "--listen", OTHER_ADDRESS, "--nat-discovery", f"{server.ADDRESS}/{OTHER_ADDRESS}",
                               *server.allow(*server.LAB_PEERS)):
            tests = [(f"{one} and {other}: {table[one, other]}", agents, binary, directory, left[one], right[other],
                      table[one, other], "--no-mapping")
                     for one, other in itertools.combinations_with_replacement(KINDS, 2)]
            tests += [(f"{one}, {'offer to' if is_offer else 'answer'} aioice, {other}: {table[one, other]}",
                       against_aioice, binary, directory, left[one], right[other], is_offer, table[one, other])
                      for one, other in itertools.product(("open", "portrestricted", "symmetric"), repeat=2)
                      for is_offer in (True, False)]
            tests += [(f"on one host, {'offer to' if is_offer else 'answer'} aioice: direct", against_aioice, binary,
                       directory, left["open"], left["open"], is_offer, "direct") for is_offer in (True, False)]
            strict = left["portrestricted"], right["portrestricted"]
            tests += [
                ("pipe, portrestricted on both sides: 2 MiB arrive", pipe, binary, directory, *strict, 2 << 20),
                ("pipe, symmetric and portrestricted: 2 MiB arrive", pipe, binary, directory, left["symmetric"],
                 right["portrestricted"], 2 << 20),
                ("pipe, over signaling: 2 MiB arrive", rendezvous, binary, directory, *strict, 2 << 20),
                ("pipe, the reader of one end goes: both fail", cut_short, binary, directory, *strict, False),
                ("pipe, one end is interrupted: both fail", cut_short, binary, directory, *strict, True),
                ("doctor, with a second person over signaling", together, binary, directory, *strict, "direct"),
                ("doctor, alone behind a NAT", alone, binary, directory, right["portrestricted"], behind_port_restricted),
                ("doctor, alone where UDP is blocked", alone, binary, directory, right["udpblocked"], behind_blocked),
                ("doctor, alone behind a narrow link", narrow, binary, directory, right["symmetric"]),
                ("names in place of addresses, in one network", concealed, binary, directory, left["portrestricted"], same),
                ("a gateway that opens ports by PCP, NAT-PMP and UPnP", mapped, binary, directory, opening, right["symmetric"]),
            ]
            # Most of them wait most of the time; those that change a site come last and alone.
            outcome.run_side_by_side(tests[:-3], workers=6)
            for name, function, *arguments in tests[-3:]:
                outcome.run(name, function, *arguments)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
