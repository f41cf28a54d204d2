#!/usr/bin/env python3
"""ICE through kernel NATs: `floe doctor` against itself and against aioice, and `floe pipe` with a file.

Each pair of NAT kinds must connect the way the simulated internet says: directly, or over the TURN server.
aioice runs only if it is there: python3 -m venv .build/interop && .build/interop/bin/pip install aioice
"""

import contextlib
import hashlib
import itertools
import json
import os
import subprocess

from lab import Lab, Site, require_root_and_tools
from support import results, server
from support.results import eventually

USER, PASSWORD, REALM = "name", "password", "floe.test"
PYTHON = os.path.abspath(".build/interop/bin/python")
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "support", "aioice_peer.py")
KINDS = ("open", "portrestricted", "symmetric", "udpblocked", "udprejected", "tcp5349only")
SERVERS = [f"--stun=stun:{server.ADDRESS}", f"--turn=turn:{server.ADDRESS}",
           f"--turn=turn:{server.ADDRESS}?transport=tcp", f"--turn=turns:{server.ADDRESS}:5349?transport=tcp",
           f"--user={USER}", f"--password={PASSWORD}", "--insecure"]


def expected(one, other):
    """How a pair of kinds connects (the table that the simulated internet gives)."""
    if not {one, other} <= {"open", "portrestricted", "symmetric"}:
        return "relayed"
    if "open" in (one, other) or one == other == "portrestricted":
        return "direct"
    return "relayed"


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
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdin=stdin, stdout=stdout, stderr=log)
        log.close()
        self.processes.append(process)
        return process

    def floe(self, namespace, command, is_offer, *options, **streams):
        own, other = ("offer", "answer") if is_offer else ("answer", "offer")
        way = ["--offer", "--code-from", self.path(other)] if is_offer else ["--answer", "@" + self.path(other)]
        if not is_offer:
            eventually("the offer is written", lambda: os.path.exists(self.path(other)), 20)
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

    def logs(self):
        texts = []
        for number in range(len(self.processes)):
            with open(self.path(f"{number}.log")) as file:
                texts.append(file.read()[-300:])
        return " | ".join(texts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
            process.communicate()


def agents(binary, directory, one, other, outcome):
    with Ends(binary, directory, f"{one.kind} {other.kind} {one.short} {other.short}") as ends:
        first = ends.floe(one.namespace, "doctor", True, "--json", *SERVERS)
        second = ends.floe(other.namespace, "doctor", False, "--json", *SERVERS)
        for found in (ends.output(first), ends.output(second)):
            assert len(found["roundTripMilliseconds"]) >= 5, f"pings were lost: {found}"
            assert found["outcome"] == outcome, f"{found['outcome']}, not {outcome}: {found}; {ends.logs()}"


def against_aioice(binary, directory, one, other, is_offer, outcome):
    turn = [server.ADDRESS, USER, PASSWORD]
    options = SERVERS[:2] + SERVERS[4:]
    with Ends(binary, directory, f"aioice {one.kind} {other.kind} {is_offer}") as ends:
        if is_offer:
            ours = ends.floe(one.namespace, "doctor", True, "--json", *options)
            theirs = ends.aioice(other.namespace, False, *turn)
        else:
            theirs = ends.aioice(other.namespace, True, *turn)
            ours = ends.floe(one.namespace, "doctor", False, "--json", *options)
        found, their = ends.output(ours), ends.output(theirs)
        assert their["connected"] and their["pings"] >= 5, f"aioice: {their}, floe: {found}"
        assert len(found["roundTripMilliseconds"]) >= 5, f"pings were lost: {found}"
        assert found["outcome"] == outcome, f"{found['outcome']}, not {outcome}: {found}"


def pipe(binary, directory, one, other, size):
    content = os.urandom(size)
    with Ends(binary, directory, f"pipe {one.kind} {other.kind}") as ends:
        with open(ends.path("in"), "wb") as file:
            file.write(content)
        with open(ends.path("in"), "rb") as source, open(ends.path("out"), "wb") as sink:
            first = ends.floe(one.namespace, "pipe", True, *SERVERS, stdin=source)
            second = ends.floe(other.namespace, "pipe", False, "--receive", *SERVERS, stdout=sink)
            codes = [process.wait(timeout=120) for process in (first, second)]
        assert codes == [0, 0], f"exit codes {codes}: {ends.logs()}"
        with open(ends.path("out"), "rb") as file:
            assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest(), "other bytes arrived"


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24")
        left = {kind: Site(lab, f"l{n}", kind, 2 * n + 1) for n, kind in enumerate(KINDS)}
        right = {kind: Site(lab, f"r{n}", kind, 2 * n + 2) for n, kind in enumerate(KINDS)}
        with server.FloeServer(binary, there, directory, "--listen", server.ADDRESS, "--realm", REALM, "--user",
                               f"{USER}:{PASSWORD}", *server.allow(*server.LAB_PEERS)):
            for one, other in itertools.combinations_with_replacement(KINDS, 2):
                way = expected(one, other)
                outcome.run(f"{one} and {other}: {way}", agents, binary, directory, left[one], right[other], way)
            for one, other in (("portrestricted", "portrestricted"), ("symmetric", "portrestricted")):
                outcome.run(f"pipe, {one} and {other}: 2 MiB arrive", pipe, binary, directory, left[one], right[other],
                            2 << 20)
            if os.access(PYTHON, os.X_OK):
                for one, other in itertools.product(("open", "portrestricted", "symmetric"), repeat=2):
                    way = expected(one, other)
                    for is_offer in (True, False):
                        outcome.run(f"{one}, {'offer to' if is_offer else 'answer'} aioice, {other}: {way}",
                                    against_aioice, binary, directory, left[one], right[other], is_offer, way)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
