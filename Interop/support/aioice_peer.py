#!/usr/bin/env python3
"""One end of an ICE connection made of aioice, speaking the codes and the pings of `floe doctor`.

usage: aioice_peer.py offer|answer OWN-CODE-FILE OTHER-CODE-FILE [TURN-HOST USER PASSWORD]

Prints one JSON line: whether it connected, over which kinds of candidates, after how long, and how many pings came back.
"""

import asyncio
import base64
import json
import os
import sys
import time

import aioice

PREFIX = "floe2-"


def encoded(connection):
    lines = [f"a=ice-ufrag:{connection.local_username}", f"a=ice-pwd:{connection.local_password}"]
    lines += [f"a=candidate:{candidate.to_sdp()}" for candidate in connection.local_candidates]
    text = "".join(line + "\r\n" for line in lines + ["a=end-of-candidates"])
    return PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def write(path, text):
    with open(path + ".part", "w") as file:
        file.write(text + "\n")
    os.rename(path + ".part", path)


async def read(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.02)
    with open(path) as file:
        word = file.read().strip().removeprefix(PREFIX)
    text = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode()
    return [line.removeprefix("a=") for line in text.split("\r\n")]


async def take(connection, lines):
    for line in lines:
        name, _, value = line.partition(":")
        if name == "ice-ufrag":
            connection.remote_username = value
        elif name == "ice-pwd":
            connection.remote_password = value
        elif name == "candidate":
            await connection.add_remote_candidate(aioice.Candidate.from_sdp(value))
    await connection.add_remote_candidate(None)


async def pings(connection):
    """Five pings with their answers, as `floe doctor` does them, and answers to the other's."""
    sent, trips, is_peer_done = {}, [], False

    async def answer():
        nonlocal is_peer_done
        while True:
            words = (await connection.recv()).decode().split(" ")
            if words[1] == "ping":
                await connection.send(f"floe pong {words[2]}".encode())
            elif words[1] == "pong" and words[2] in sent:
                trips.append(1000 * (time.monotonic() - sent.pop(words[2])))
            elif words[1] == "bye":
                is_peer_done = True

    reader = asyncio.create_task(answer())
    for number in range(100):
        if len(trips) >= 5:
            await connection.send(b"floe bye")
            if is_peer_done:
                break
        else:
            sent[str(number)] = time.monotonic()
            await connection.send(f"floe ping {number}".encode())
        await asyncio.sleep(0.05)
    reader.cancel()
    return trips


async def main(role, own, other, turn=None, user=None, password=None):
    server = {"stun_server": (turn, 3478), "turn_server": (turn, 3478), "turn_username": user,
              "turn_password": password} if turn else {}
    connection = aioice.Connection(ice_controlling=role == "offer", **server)
    lines = await read(other) if role == "answer" else None
    await connection.gather_candidates()
    write(own, encoded(connection))
    await take(connection, lines or await read(other))
    begun = time.monotonic()
    found = {"connected": False, "pings": 0}
    try:
        await connection.connect()
        found = {"connected": True, "milliseconds": 1000 * (time.monotonic() - begun)}
        found["pings"] = len(await pings(connection))
    except ConnectionError as error:
        found["error"] = str(error)
    print(json.dumps(found), flush=True)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
