#!/usr/bin/env python3
"""Drives coturn's own clients against `floe serve` and reads the numbers that they print: no message may be lost.

Modes of turnutils_uclient that are not run, and why: -b and -U (SCTP, ciphers without encryption: not offered here), -P
(its active peer is on the loopback, which nobody may relay to), -h (it never ends), -I (it tests that a server without
permissions relays), -E, -i, -k, -F (TLS of the client itself), -o, -a (attributes that no RFC has), -Z (Debian's asks for
one family all the same, and now and then refreshes the other, to which 443 is the answer; `floe conform` tries dual
allocations).
"""

import contextlib
import functools
import os
import re
import subprocess

from lab import Lab, require_root_and_tools
from support import results, server, tokens
from support.results import eventually

USER, PASSWORD, REALM = "name", "password", "floe.test"
SECOND = "203.0.113.31"
PEER, PEER6 = "203.0.113.30", "2001:db8::30"
CLIENT, CLIENT6 = "203.0.113.40", "2001:db8::40"
MESSAGES, LENGTH = 20, 170
LEG = {"UDP": [], "TCP": ["-t"], "TLS": ["-t", "-S"], "DTLS": ["-S"]}


def finished(namespace, *command, timeout=60):
    """What a client printed, or an assertion if it did not end in time."""
    with subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            return process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
            raise AssertionError(f"{command[0]} did not end within {timeout} s: {output[-400:]}") from None


def totals(output):
    """The last totals of uclient: messages sent and received."""
    counts = dict(re.findall(r"(tot_send_msgs|tot_recv_msgs)=(\d+)", output))
    assert len(counts) == 2, f"no totals in its output: {output[-500:]}"
    return int(counts["tot_send_msgs"]), int(counts["tot_recv_msgs"])


def delivered(output):
    """The messages that came in, counted by the sizes of TLS records.

    uclient takes one record for one message; of two in one record, as any server may send them, it counts one.
    """
    sizes = [size for size in map(int, re.findall(r"response received: size=(\d+)", output)) if size > LENGTH]
    single = max(set(sizes), key=sizes.count, default=LENGTH)
    return sum(size // single for size in sizes)


def uclient(namespace, credentials, *options, address=server.ADDRESS, clients=2):
    """Runs uclient and checks that every message that it sent came back to it."""
    secure = "-S" in options
    output = finished(namespace, "turnutils_uclient", *credentials, *options, *(["-v"] if secure else []),
                      "-n", str(MESSAGES), "-m", str(clients), "-l", str(LENGTH), "-z", "15", address)
    sent, received = totals(output)
    # On a data connection (RFC 6062) uclient counts bytes, not records.
    if secure and "-T" not in options:
        received = delivered(output)
    assert sent == received, f"{sent} messages sent, {received} received: {output[-500:]}"
    # More is right (a client that asks for an RTCP allocation counts twice), less is not.
    assert sent >= MESSAGES * clients, f"only {sent} messages sent, {MESSAGES * clients} expected"


def uclient_negative(namespace, floe, credentials):
    """-N binds a channel with a wrong number: 400, and nothing else goes wrong."""
    output = finished(namespace, "turnutils_uclient", *credentials, "-N", "-n", "5", "-m", "1", "-e", PEER, server.ADDRESS)
    assert re.search(r"channel bind: error 400", output), f"no error 400 in its output: {output[-300:]}"
    assert floe.healthy(), "the server is not healthy"


def uclient_hostile(namespace, floe, credentials, mode):
    """-R sends broken messages and may wait for ever for answers that nobody owes it, -O runs away: the server lives."""
    requests = count(floe, "floe_turn_requests_total")
    command = ["timeout", "8", "turnutils_uclient", *credentials, mode, "-n", "5", "-m", "4", "-e", PEER, server.ADDRESS]
    finished(namespace, *command)
    eventually("its requests are counted", lambda: count(floe, "floe_turn_requests_total") > requests, timeout=5)
    assert floe.healthy(), "the server is not healthy"
    uclient(namespace, credentials, "-e", PEER)


def count(floe, name):
    """The sum of all samples of a counter."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in floe.metrics().splitlines() if line.startswith(name))


def stunclient(namespace, expected, address):
    # Without an answer, stunclient waits for ever; killed, it must not take its output with it.
    output = finished(namespace, "stdbuf", "-oL", "timeout", "5", "turnutils_stunclient", address)
    assert f"UDP reflexive addr: {expected}" in output, f"{expected} is not in its output: {output[-300:]}"


def discovery(namespace, option, expected):
    """RFC 5780 by coturn's natdiscovery, from a host without NAT (turn 176-178)."""
    output = finished(namespace, "stdbuf", "-oL", "timeout", "30", "turnutils_natdiscovery", option, server.ADDRESS)
    assert expected in output, f"{expected!r} is not in its output: {output[-600:]}"


@contextlib.contextmanager
def peers(namespace):
    """coturn's echo server on both families."""
    processes = [subprocess.Popen(["ip", "netns", "exec", namespace, "turnutils_peer", "-L", address],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for address in (PEER, PEER6)]
    try:
        eventually("turnutils_peer listens on both addresses", lambda: finished(
            namespace, "ss", "-Hlun", "sport = 3480").count(":3480 ") >= 2, timeout=5)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def matrix(client, credentials):
    """Leg, relay mode and family, as tests: name, function, arguments."""
    v6 = functools.partial(uclient, address=server.ADDRESS6)
    for leg, options in LEG.items():
        words = [client, credentials, *options]
        yield f"{leg}, channels, to an echoing peer", uclient, *words, "-e", PEER
        yield f"{leg}, Send indications, to an echoing peer", uclient, *words, "-s", "-e", PEER
        yield f"{leg}, channels, client to client", uclient, *words, "-y", "-c"
        yield f"{leg}, Send indications, client to client", uclient, *words, "-y", "-c", "-s"
        yield f"{leg}, IPv6 relay, to an echoing peer", uclient, *words, "-x", "-e", PEER6
        yield f"{leg}, IPv6 listener and relay, to an echoing peer", v6, *words, "-x", "-e", PEER6
    words = [client, credentials]
    yield "UDP, IPv6 listener, IPv4 relay", v6, *words, "-X", "-e", PEER
    yield "UDP, DONT-FRAGMENT", uclient, *words, "-g", "-e", PEER
    yield "UDP, extra CreatePermission and ChannelBind requests", uclient, *words, "-G", "-e", PEER
    yield "UDP, pairs of ports with EVEN-PORT, client to client", uclient, *words, "-y"
    yield "UDP, 10 clients", functools.partial(uclient, clients=10), *words, "-e", PEER
    yield "TCP, padded channel data", uclient, *words, "-t", "-D", "-e", PEER
    for leg in ("TCP", "TLS"):
        yield f"{leg}, TCP allocations (turn 161-175), client to client", uclient, *words, *LEG[leg], "-T", "-y"


def token_matrix(client):
    """Access tokens with the keys that uclient has built in (turn 184-188)."""
    words = [client, ["-J"]]
    for leg, options in LEG.items():
        yield f"access token (turn 185): {leg}, channels", uclient, *words, *options, "-e", PEER
        yield f"access token: {leg}, Send indications, client to client", uclient, *words, *options, "-y", "-c", "-s"
    yield "access token: TCP allocations, client to client", uclient, *words, "-t", "-T", "-y"
    yield "access token: -B, sudden disconnects", uclient, *words, "-B", "-e", PEER
    yield "access token: -M, mobility (turn 191, 192)", uclient, *words, "-M", "-e", PEER
    password = ["-u", USER, "-w", PASSWORD]
    yield "password where tokens are taken as well", uclient, client, password, "-e", PEER
    yield "password: -B, sudden disconnects", uclient, client, password, "-B", "-e", PEER
    yield "password: -M, mobility (turn 191, 192)", uclient, client, password, "-M", "-e", PEER


def test(options):
    require_root_and_tools("turnutils_uclient", "turnutils_oauth", "turnutils_peer", "turnutils_stunclient")
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    common = ["--listen", server.ADDRESS, "--listen", server.ADDRESS6, "--realm", REALM,
              *server.allow(*server.LAB_PEERS),
              # uclient draws channel numbers from RFC 5766's range, three quarters of which RFC 8656 has reserved.
              "--legacy-channels", "--tcp-relay",
              "--listen", SECOND, "--relay-ip", server.ADDRESS, "--relay-ip", server.ADDRESS6,
              "--nat-discovery", f"{server.ADDRESS}/{SECOND}"]
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24", f"{SECOND}/24", f"{server.ADDRESS6}/64")
        client = lab.host("client", f"{CLIENT}/24", f"{CLIENT6}/64")
        with peers(lab.host("peer", f"{PEER}/24", f"{PEER6}/64")):
            with server.FloeServer(binary, there, directory, *common, "--user", f"{USER}:{PASSWORD}"):
                outcome.run("STUN over IPv4", stunclient, client, CLIENT, server.ADDRESS)
                outcome.run("STUN over IPv6", stunclient, client, CLIENT6, server.ADDRESS6)
                outcome.run("NAT behaviour: mapping", discovery, client, "-m", "Endpoint Independent Mapping!")
                outcome.run("NAT behaviour: filtering", discovery, client, "-f", "Endpoint Independent Filtering!")
                outcome.run_side_by_side(matrix(client, ["-u", USER, "-w", PASSWORD]))
            outcome.run_side_by_side(tokens.tests(binary, directory))
            words = ["--user", f"{USER}:{PASSWORD}", "--mobility", "--oauth-key-file", tokens.key_file(directory)]
            with server.FloeServer(binary, there, directory, *common, *words) as floe:
                outcome.run_side_by_side(token_matrix(client))
                for credentials in (["-u", USER, "-w", PASSWORD], ["-J"]):
                    kind = "access token" if "-J" in credentials else "password"
                    outcome.run(f"{kind}: -N, a wrong channel", uclient_negative, client, floe, credentials)
                    for mode in ("-R", "-O"):
                        outcome.run(f"{kind}: {mode}, hostile", uclient_hostile, client, floe, credentials, mode)
            with server.FloeServer(binary, there, directory, *common) as floe:
                with open(os.path.join(floe.state, "turn-secret")) as file:
                    secret = ["-u", "someone", "-W", file.read().strip()]
                outcome.run_side_by_side((f"REST secret: {leg}, channels", uclient, client, secret, *words, "-e", PEER)
                                         for leg, words in LEG.items())
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
