#!/usr/bin/python3
"""Measures Debian's aioice (python3-aioice) as `make allocations` measures our agent, and how long both take to connect.

Bytes for each idle connected agent, its wake-ups, checks in a second. Two agents with two candidates each live in one
process; for the checks, what one sends is handed to the other without a socket, so that the agents alone are measured. For
the time to connect both have sockets on this machine and no delay between them; `floe doctor` (release) does so by codes.
"""
import argparse
import asyncio
import gc
import json
import os
import resource
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc

import aioice

IDLE_SECONDS = 60


async def prepare():
    """Two agents that have all of each other's candidates."""
    one, other = aioice.Connection(ice_controlling=True), aioice.Connection(ice_controlling=False)
    for connection in (one, other):
        await connection.gather_candidates()
    for here, there in ((one, other), (other, one)):
        # Two candidates on each side, as in our own measurement.
        for candidate in there.local_candidates[:2]:
            await here.add_remote_candidate(candidate)
        await here.add_remote_candidate(None)
        here.remote_username, here.remote_password = there.local_username, there.local_password
    return one, other


async def connect():
    one, other = await prepare()
    await asyncio.gather(one.connect(), other.connect())
    return one, other


async def times(count):
    """Milliseconds from the first check to the nominated pair at both ends."""
    taken = []
    for _ in range(count):
        pair = await prepare()
        start = time.perf_counter()
        await asyncio.gather(*(connection.connect() for connection in pair))
        taken.append((time.perf_counter() - start) * 1000)
        for connection in pair:
            await connection.close()
    return taken


def floe_times(binary, count):
    """The same of `floe doctor`: from both descriptions to a path, as each end tells it."""
    taken = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as directory:
            offer, answer = os.path.join(directory, "offer"), os.path.join(directory, "answer")
            options = ["doctor", "--json", "--loopback", "--no-mapping"]
            first = subprocess.Popen([binary, *options, "--offer", "--code-to", offer, "--code-from", answer],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            while not os.path.exists(offer) and first.poll() is None:
                time.sleep(0.05)
            second = subprocess.run([binary, *options, "--answer", "@" + offer, "--code-to", answer],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            outputs = first.communicate(timeout=30)[0], second.stdout
            # The offerer has both descriptions first: the answerer waits for its code to be carried.
            taken.append(json.loads(outputs[0])["connectMilliseconds"])
    return taken


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop wakes for a timer."""

    count = 0

    def select(self, timeout=None):
        ready = super().select(timeout)
        if not ready:
            self.count += 1
        return ready


async def wake_ups(selector):
    """Wake-ups by timers of one idle connected agent in a minute."""
    pair = await connect()
    await asyncio.sleep(1)
    before = selector.count
    await asyncio.sleep(IDLE_SECONDS)
    found = (selector.count - before - 1) / 2 * 60 / IDLE_SECONDS
    for connection in pair:
        await connection.close()
    return found


async def memory(count):
    """Bytes and blocks of Python's allocator for each agent."""
    kept = [await connect()]
    gc.collect()
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        kept.append(await connect())
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    blocks = sum(entry.count for entry in tracemalloc.take_snapshot().statistics("filename"))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    tracemalloc.stop()
    for pair in kept:
        for connection in pair:
            await connection.close()
    return size / count / 2, blocks / count / 2, resident * 1024 / count / 2


class Wire:
    """Stands for a socket: hands each datagram to the other agent at once."""

    def __init__(self, own, peer):
        self.own, self.peer = own, peer

    def sendto(self, data, _address):
        self.peer.datagram_received(data, self.own.local_candidate_address)


async def checks(seconds):
    one, other = await connect()
    pair = one._nominated[1]
    here = pair.protocol
    port = pair.remote_addr[1]
    there = next(p for p in other._protocols if p.local_candidate.port == port)
    saved = (here.transport, there.transport)
    for protocol in (here, there):
        protocol.local_candidate_address = (protocol.local_candidate.host, protocol.local_candidate.port)
    here.transport, there.transport = Wire(here, there), Wire(there, here)
    key = one.remote_password.encode()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        request = one.build_request(pair, nominate=False)
        await here.request(request, pair.remote_addr, integrity_key=key)
        count += 1
    elapsed = time.perf_counter() - start
    here.transport, there.transport = saved
    await one.close()
    await other.close()
    return count / elapsed


async def main(selector, binary):
    print(f"aioice {aioice.__version__} of {os.path.dirname(aioice.__file__)}, Python {sys.version.split()[0]}")
    print(f"{await checks(3):.0f} checks per second, without sockets")
    size, blocks, resident = await memory(50)
    print(f"{size:.0f} bytes in {blocks:.0f} blocks for each idle connected agent; {resident:.0f} bytes resident")
    print(f"{await wake_ups(selector):.1f} wake-ups by timers of an idle connected agent in a minute")
    for name, taken in (("aioice", await times(20)), ("floe", floe_times(binary, 5))):
        print(f"{name}: {statistics.median(taken):.1f} ms to connect ({min(taken):.1f} to {max(taken):.1f}), no delay")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floe", default=".build/release/floe", metavar="BINARY")
    counting = CountingSelector()
    asyncio.SelectorEventLoop(counting).run_until_complete(main(counting, parser.parse_args().floe))
