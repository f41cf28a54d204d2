#!/usr/bin/env python3
"""Calls between real browsers, each behind a kernel NAT of its own, through `floe serve` on a small internet."""

import contextlib
import os

from lab import Lab, Site, probe, require_root_and_tools
from support import browser, results, server
from support.call import Participant
from support.results import eventually

RECOVERY_TIMEOUT = 60


class Stage:
    """Sites with their browsers, made when a scenario first asks for them, and the running server."""

    def __init__(self, lab, directory):
        self.lab, self.directory = lab, directory
        self.browsers, self.sites, self.rows, self.floe = {}, {}, [], None

    def browser(self, kind, which):
        """The browser at the first, second, ... site of a kind."""
        key = (kind, which)
        if key not in self.browsers:
            number = len(self.sites) + 1
            self.sites[key] = Site(self.lab, f"s{number}", kind, number)
            self.browsers[key] = browser.Browser(self.sites[key].namespace, f"{self.directory}/browser{number}")
        return self.browsers[key]

    def keep_only(self, *kinds):
        """Closes the browsers at sites of other kinds: two cores carry only so many."""
        for key in [key for key in self.browsers if key[0] not in kinds]:
            self.browsers.pop(key).close()

    def call(self, people, label, *kinds, **switches):
        """Opens a page at one site for each kind and lets all join a new room, one after another."""
        room = f"room-{label}"
        for place, kind in enumerate(kinds):
            at = self.browser(kind, kinds[:place].count(kind))
            people.append(Participant(at, room, "ABC"[place], **switches))
        for person in people:
            person.join()
        for person in people:
            person.wait_for_call(len(people) - 1)
        for person in people:
            others = [other for other in people if other is not person]
            person.says(f"{person.name} says hello", others)


@contextlib.contextmanager
def on(stage, label, title, *kinds, faults=False, **switches):
    """A call, its row in the table, and its end."""
    row = {"scenario": title, "NATs": " + ".join(kinds), "verdict": "FAIL"}
    stage.rows.append(row)
    people = []
    try:
        stage.call(people, label, *kinds, **switches)
        newcomer = people[-1]
        row.update({f"path {person.name}": person.path() for person in people[:2]})
        row["connected"] = " / ".join(str(person.since(newcomer, "connected")) for person in people)
        row["first frame"] = " / ".join(str(person.since(newcomer, "firstFrame")) for person in people)
        yield people
        for person in people:
            person.check_complaints(network=not faults)
        row["verdict"] = "ok"
    except Exception:
        for person in people:
            with contextlib.suppress(AssertionError, OSError):
                person.save(stage.directory, label)
        raise
    finally:
        for at in stage.browsers.values():
            for page in list(at.pages.values()):
                with contextlib.suppress(AssertionError, OSError):
                    page.close()


def expect_direct(people):
    for person in people:
        assert person.selected()["path"] == "direct", f"{person.name} is not connected directly: {person.path()}"


def expect_relay(people, protocols=("udp", "tcp")):
    """The path is relayed, and the relays that the two themselves use are reached by one of the protocols.

    Where UDP and TCP both get through, a browser on a busy machine may stay with TCP if its check was the first to succeed.
    """
    used = set()
    for person in people:
        pair = person.selected()
        assert pair["path"] == "relay", f"{person.name} is not connected through the relay: {person.path()}"
        if pair["localType"] == "relay":
            used.add(pair["localRelayProtocol"])
    assert used and used <= set(protocols), f"relays are reached by {used}, expected {protocols}"


def open_relay_only(stage):
    with on(stage, "d", "relay only", "open", "open", relay=1) as people:
        for person in people:
            assert person.selected()["localType"] == "relay", f"{person.name} does not use its relay: {person.path()}"


def both_restricted(stage):
    with on(stage, "a", "direct", "portrestricted", "portrestricted") as people:
        expect_direct(people)


def websocket_lost(stage):
    with on(stage, "g", "WebSocket lost", "portrestricted", "portrestricted", faults=True) as people:
        person = people[0]
        before = person.report()
        site = stage.sites["portrestricted", 0]
        site.block("tcp dport 8443", "tcp sport 8443")
        try:
            eventually(lambda: f"{person.name} notices the loss: {person.summary()}",
                       lambda: person.report()["signaling"]["state"] != "connected", 60, 0.2)
            for each in people:
                each.wait_for_more_frames()
        finally:
            site.unblock()
        person.wait_for_resume(before, RECOVERY_TIMEOUT)
        after = person.report()["signaling"]
        assert after["joins"] == 1, f"{person.name} joined anew instead of resuming: {after}"
        negotiate_again(people)


def negotiate_again(people):
    """Signaling works again: a new negotiation, which the switch to relay only needs, arrives and is answered."""
    people[0].toggle_relay_only()
    for person in people:
        eventually(lambda: f"{person.name} moves to the relay: {person.summary()}", lambda: (
            (peer := person.peers()[0])["connectionState"] == "connected" and peer["selected"]
            and peer["selected"]["path"] == "relay"), RECOVERY_TIMEOUT, 0.1)
    for person, other in (people, people[::-1]):
        person.wait_for_more_frames()
        person.says(f"{person.name} is still here", [other])


def server_restarted(stage):
    with on(stage, "e", "server killed, direct call", "portrestricted", "portrestricted", faults=True) as people:
        expect_direct(people)
        restart_server(stage, people, while_dead=lambda: [person.wait_for_more_frames() for person in people])
        expect_direct(people)
        negotiate_again(people)


def server_restarted_under_relay(stage):
    with on(stage, "e2", "server killed, relayed call", "symmetric", "symmetric", faults=True) as people:
        expect_relay(people)
        restarts = sum(person.peers()[0]["iceRestarts"] for person in people)
        restart_server(stage, people)
        for person in people:
            person.wait_for_more_frames(timeout=RECOVERY_TIMEOUT)
            person.wait_for_call()
        assert sum(person.peers()[0]["iceRestarts"] for person in people) > restarts, "nobody restarted ICE"
        expect_relay(people)
        for person, other in (people, people[::-1]):
            person.says(f"{person.name} is back", [other])


def restart_server(stage, people, while_dead=lambda: None):
    """SIGKILL, then a start on the same state: everybody resumes and nobody joins anew."""
    before = [person.report() for person in people]
    stage.floe.kill()
    while_dead()
    stage.floe.start()
    for person, earlier in zip(people, before):
        person.wait_for_resume(earlier, RECOVERY_TIMEOUT)
        now = person.report()["signaling"]
        assert now["joins"] == 1, f"{person.name} joined anew instead of resuming: {now}"


def mesh_of_three(stage):
    kinds = ("portrestricted", "portrestricted", "udpblocked")
    with on(stage, "f", "mesh of three", *kinds) as people:
        for person in people:
            paths = sorted(peer["selected"]["path"] for peer in person.peers())
            expected = ["relay", "relay"] if person is people[2] else ["direct", "relay"]
            assert paths == expected, f"{person.name} has the paths {paths}, expected {expected}"
            person.wait_for_more_frames()


def udp_blocked(stage):
    with on(stage, "c", "UDP blocked", "portrestricted", "udpblocked") as people:
        expect_relay(people[1:], ("tcp", "tls"))


def only_tls(stage):
    with on(stage, "c2", "only TCP 5349 and 8443", "portrestricted", "tcp5349only") as people:
        expect_relay(people[1:], ("tls",))


def both_symmetric(stage):
    with on(stage, "b", "relay", "symmetric", "symmetric") as people:
        expect_relay(people)


def closed_gate(stage):
    with on(stage, "b2", "relay to relay, gate closed", "symmetric", "symmetric") as people:
        expect_relay(people)
        for person in people:
            pair = person.selected()
            assert (pair["localType"], pair["remoteType"]) == ("relay", "relay"), (
                f"{person.name} is let through the closed gate: {person.path()}")


def table(rows):
    columns = ("scenario", "NATs", "path A", "path B", "connected", "first frame", "verdict")
    lines = [columns, ("---",) * len(columns), *[tuple(row.get(column, "") for column in columns) for row in rows]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    print("\nmilliseconds count from the moment when the last person pressed the button")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")


SCENARIOS = [
    # The order spares browsers: a kind of site stays in use for as long as it is needed.
    (("open",), "both open, relay only: through the relay", open_relay_only),
    (("portrestricted",), "both port-restricted: direct", both_restricted),
    (("portrestricted",), "WebSocket lost for a while: resumed", websocket_lost),
    (("portrestricted",), "server killed and started again: direct call goes on", server_restarted),
    (("portrestricted", "udpblocked"), "three in a mesh", mesh_of_three),
    (("portrestricted", "udpblocked"), "UDP blocked on one side: TURN over TCP or TLS", udp_blocked),
    (("portrestricted", "tcp5349only"), "only TCP 5349 and 8443 let out: TURN over TLS", only_tls),
    (("symmetric",), "both symmetric: through the relay", both_symmetric),
    (("symmetric",), "server killed and started again: relayed call recovers", server_restarted_under_relay),
]


def behaves(kind, found):
    assert found == probe.EXPECTED[kind], f"{kind} behaves as {found}, expected {probe.EXPECTED[kind]}"


def router_stays(lab):
    """Whoever is plugged in, the router keeps its address: others' neighbour tables would be wrong otherwise."""
    before = lab.router_address()
    for number in range(1, 9):
        lab.host(f"newcomer{number}", f"203.0.113.{200 + number}/24")
        assert lab.router_address() == before, f"newcomer {number} made the router change its address"


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    browser.require_chromium()
    outcome = results.Results(options.only)
    common = ["--listen", server.ADDRESS, "--realm", "floe.test", "--advertise-tls", "always"]
    if outcome.wanted("NAT kind"):
        with Lab() as lab:
            for kind, found in probe.survey(lab).items():
                outcome.run(f"NAT kind {kind} behaves as it is named", behaves, kind, found)
    if outcome.wanted("router"):
        with Lab() as lab:
            outcome.run("the router keeps its address whoever is plugged in", router_stays, lab)
    with results.directory(options) as directory, Lab() as lab:
        stage = Stage(lab, directory)
        there = lab.host("server", f"{server.ADDRESS}/24")
        try:
            opened = server.allow("203.0.113.0/24", "198.51.100.0/24", "10.0.0.0/8")
            stage.floe = server.FloeServer(binary, there, os.path.join(directory, "open"), *common, *opened)
            with stage.floe:
                for kinds, name, scenario in SCENARIOS:
                    if outcome.wanted(name):
                        stage.keep_only(*kinds)
                        outcome.run(name, scenario, stage)
            stage.floe = server.FloeServer(binary, there, os.path.join(directory, "closed"), *common)
            with stage.floe:
                outcome.run("both symmetric, gate closed: relay to relay", closed_gate, stage)
        finally:
            stage.keep_only()
            table(stage.rows)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
