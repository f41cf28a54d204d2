"""`floe bench` against a server on the same machine: every load, and what it says of it."""

import itertools
import json

from support import server

USER, PASSWORD, CLIENTS = "bench", "password of the bench", 30


def tests(place):
    floe = place.floe("--user", f"{USER}:{PASSWORD}", "--user-quota", "1000", "--prefix-rate", "1000000",
                      *server.allow(f"{server.ADDRESS}/32"))
    directions = ("to-peers", "to-clients", "both")
    loads = [("--direction", direction, *block) for direction, block in
             itertools.product(directions, ((), ("--client-block", "127.1.0.0/24")))]
    loads += [("--load", "indications"), ("--load", "allocations", "--client-block", "127.1.0.0/24"), ("--load", "bindings"),
              ("--direction", "both", "--rate", "2000", "--client-block", "127.1.0.0/24")]
    for load in loads:
        yield "floe bench " + " ".join(load), measured, place, floe, load


def measured(place, floe, load):
    """All that was sent has come, unchanged, in order, and to whom it was for; on a machine that stood still, the second time."""
    with floe:
        if measure(place, load)["lost"]:
            assert measure(place, load)["lost"] == 0, "packets are lost"


def measure(place, load):
    done = place.run_floe("bench", f"turn:{server.ADDRESS}", "--user", USER, "--password", PASSWORD, "--local",
                          server.ADDRESS, "--clients", str(CLIENTS), "--window", "64", "--seconds", "1", "--warm-up", "0",
                          "--json", *load)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Allocations: as many as there are clients, or there is no result. Else many packets for each.
    least = CLIENTS if "allocations" in load else 20 * CLIENTS
    assert found["received"] >= least and found["corrupt"] == 0 and found["reordered"] == 0, found
    assert found["received"] + found["lost"] == found["sent"], found
    return found
