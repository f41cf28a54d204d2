"""Five thousand allocations come and go at 80 % of what the server can relay: nothing grows, nothing is lost unseen.

--seconds N     how long (default 3600)
"""

import threading
import time

from lab import Lab, require_root_and_tools
from load import Account, World

from support import results, server

SECONDS = results.option("--seconds", 3600)
USER, PASSWORD = "alice", "wonderland"
ALLOCATIONS, SHARE = 5000, 0.8
# Two generators relay over most of them, in turns that overlap; a third makes and deletes the rest all the time.
LASTING, PASSING = 2100, 800


class Relaying(threading.Thread):
    """Relays at a rate over allocations that live for one turn, again and again."""

    def __init__(self, world, rate, turn, end):
        super().__init__()
        self.world, self.rate, self.turn, self.end = world, rate, turn, end
        self.found, self.trouble = [], None

    def run(self):
        try:
            while time.monotonic() < self.end:
                seconds = max(2, min(self.turn, int(self.end - time.monotonic())))
                self.found.append(self.world.run(
                    USER, PASSWORD, "--clients", LASTING, "--direction", "both", "--rate", self.rate,
                    "--seconds", seconds, "--warm-up", 0))
        except AssertionError as error:
            self.trouble = error


class Passing(threading.Thread):
    """Makes allocations and deletes them, again and again."""

    def __init__(self, world, end):
        super().__init__()
        self.world, self.end, self.made, self.trouble = world, end, 0, None

    def run(self):
        try:
            while time.monotonic() < self.end:
                found = self.world.run(USER, PASSWORD, "--load", "allocations", "--clients", PASSING)
                self.made += found["received"]
        except AssertionError as error:
            self.trouble = error


def soak(world):
    """Memory and descriptors stay flat, and every packet that is lost is in some counter."""
    idle = world.descriptors()
    capacity = world.run(USER, PASSWORD, "--clients", 1000, "--direction", "both", "--window", 1024,
                         "--seconds", 4)["operationsPerSecond"]
    rate = int(capacity * SHARE)
    print(f"     capacity {capacity:.0f} packets a second, offered {rate}", flush=True)
    account = Account(world)
    end = time.monotonic() + SECONDS
    turn = max(10, min(60, SECONDS // 6))
    workers = [Relaying(world, rate // 2, turn, end), Relaying(world, rate // 2, turn * 3 // 4, end),
               Passing(world, end)]
    for worker in workers:
        worker.start()
    samples, most = [], 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(1)
        count = world.metric("floe_turn_allocations")
        most = max(most, count)
        samples.append((world.memory(), world.descriptors()))
    for worker in workers:
        if worker.trouble:
            raise worker.trouble
    told = account.close()
    found = [each for worker in workers[:2] for each in worker.found]
    sent, lost = sum(each["sent"] for each in found), sum(each["lost"] for each in found)
    third = len(samples) // 3
    early, late = (max(sample[0] for sample in part) for part in (samples[third:2 * third], samples[2 * third:]))
    print(f"     {sent} packets, {lost} lost; datagrams: {told}; {len(found)} turns and {workers[2].made} passing "
          f"allocations, {most} at once; memory {early} KiB, then {late} KiB at most; "
          f"99 % within {max(each['p99'] for each in found):.0f} µs at worst", flush=True)
    assert most >= ALLOCATIONS * 0.8, f"only {most} allocations were there at once"
    assert late <= early * 1.03 + 512, f"memory grew from {early} to {late} KiB"
    assert world.metric("floe_turn_allocations") == 0, "allocations are left over"
    assert world.descriptors() <= idle + 2, f"{world.descriptors()} descriptors, {idle} before"


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        with World(lab, binary, directory, "--user", f"{USER}:{PASSWORD}", "--user-quota", "20000",
                   "--total-quota", "20000") as world:
            outcome.run(f"{SECONDS} seconds at {SHARE * 100:.0f} % of capacity", soak, world)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
