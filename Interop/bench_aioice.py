#!/usr/bin/env python3
"""Measures aioice as `make allocations` measures our agent: bytes for each idle connected agent, checks in a second.

Needs aioice from PyPI. Two agents with two candidates each live in one process; for the checks, what one sends is handed to
the other without a socket, so that the agents alone are measured.
"""
import asyncio
import gc
import resource
import time
import tracemalloc

import aioice
from aioice import stun


async def connect():
    one, other = aioice.Connection(ice_controlling=True), aioice.Connection(ice_controlling=False)
    for connection in (one, other):
        await connection.gather_candidates()
    for here, there in ((one, other), (other, one)):
        # Two candidates on each side, as in our own measurement.
        for candidate in there.local_candidates[:2]:
            await here.add_remote_candidate(candidate)
        await here.add_remote_candidate(None)
        here.remote_username, here.remote_password = there.local_username, there.local_password
    await asyncio.gather(one.connect(), other.connect())
    return one, other


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


async def main():
    print(f"aioice {aioice.__version__}")
    print(f"{await checks(3):.0f} checks per second, without sockets")
    size, blocks, resident = await memory(50)
    print(f"{size:.0f} bytes in {blocks:.0f} blocks for each idle connected agent; {resident:.0f} bytes resident")


if __name__ == "__main__":
    asyncio.run(main())
