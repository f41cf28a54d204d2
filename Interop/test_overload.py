"""Three times what the server can relay: it keeps answering, refuses promptly what has no room, and delays nothing for long.

--seconds N     how long each part lasts (default 20)
"""

import socket
import statistics
import struct
import threading
import time

from lab import Lab, entered, require_root_and_tools
from load import Account, World, result
from support import results, server, stun

SECONDS = results.option("--seconds", 20)
REFRESH, LIFETIME = 0x004, 0x000D
TIMES, LEAST = 3, 2.2
RELAYING, ASKING = 20, 10
ALL = RELAYING + ASKING
USERS = {"relaying": "one", "asking": "two", "latecomer": "three"}
# What a client waits for an answer to a request with its retransmissions (RFC 8489 §6.2.1), in seconds.
PATIENCE = (0.5, 1, 2, 4, 8)


def ask(client, message):
    """Sends a request as a client does, again and again; returns the answer, or None, and the seconds that it took."""
    start = time.monotonic()
    for wait in PATIENCE:
        client.send(message)
        client.settimeout(wait)
        try:
            while True:
                answer = stun.Message(client.recv(2048))
                if answer.transaction == message[8:20]:
                    return answer, time.monotonic() - start
        except TimeoutError:
            continue
    return None, sum(PATIENCE)


def connected(world):
    with entered(world.here):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.connect((server.ADDRESS, 3478))
    return made


class Asking:
    """A client that refreshes, and one that asks for what nobody can give it any more."""

    def __init__(self, world):
        self.allocations = [stun.Allocation(connected(world), "asking", USERS["asking"]) for _ in range(ASKING)]
        self.world = world
        self.refreshes, self.refusals, self.codes, self.unanswered = [], [], [], 0

    def refresh(self):
        allocation = self.allocations[len(self.refreshes) % ASKING]
        message = stun.build(REFRESH, (LIFETIME, struct.pack("!I", 600)), *allocation.credentials, key=allocation.key)
        answer, seconds = ask(allocation.client, message)
        assert answer is None or answer.outcome == stun.SUCCESS, f"a refresh got {answer.error}"
        self.refreshes.append(seconds)
        self.unanswered += answer is None

    def leave(self):
        for allocation in self.allocations:
            allocation.request(REFRESH, (LIFETIME, bytes(4)))
            allocation.client.close()

    def allocate(self, user):
        with connected(self.world) as client:
            challenge, first = ask(client, stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT))
            if challenge is None:
                return None, first
            realm, nonce = challenge.attributes[stun.REALM], challenge.attributes[stun.NONCE]
            credentials = [(stun.USERNAME, user.encode()), (stun.REALM, realm), (stun.NONCE, nonce)]
            key = stun.long_term_key(user, realm.decode(), USERS[user])
            answer, second = ask(client, stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT, *credentials, key=key))
            return (answer.error or 200) if answer else None, first + second


def overload(world, direction, bound):
    """At three times capacity refreshes are answered, allocations refused, and what is relayed is not late."""
    load = ["--clients", RELAYING, "--direction", direction, "--size", 64, "--warm-up", 1]
    capacity = world.run("relaying", USERS["relaying"], *load, "--window", 1024, "--seconds", 3)["operationsPerSecond"]
    results.eventually("all allocations are given back", lambda: world.metric("floe_turn_allocations") == 0, 20)
    account, asking = Account(world), Asking(world)
    generator = world.bench("relaying", USERS["relaying"], *load, "--rate", int(capacity * TIMES), "--seconds", SECONDS)
    found = []
    waiting = threading.Thread(target=lambda: found.append(result(generator)))
    waiting.start()
    while world.metric("floe_turn_allocations") < ALL and waiting.is_alive():
        time.sleep(0.1)
    time.sleep(1)
    # Its load goes on for longer than the last of these can take.
    end = time.monotonic() + SECONDS / 2
    while time.monotonic() < end and waiting.is_alive():
        asking.refresh()
        code, seconds = asking.allocate("latecomer")
        if waiting.is_alive() and code is not None:
            asking.codes.append(code)
            asking.refusals.append(seconds)
        time.sleep(0.05)
    waiting.join()
    asking.leave()
    assert found, "the generator found nothing"
    sent, through = sum(each["sent"] for each in found), sum(each["received"] for each in found)
    offered, late = sent / found[0]["seconds"], max(each["p99"] for each in found) / 1e6
    print(f"     capacity {capacity:.0f} packets a second, offered {offered:.0f}, {through} of {sent} through, 99 % within "
          f"{late:.3f} s; {len(asking.refreshes)} refreshes, median {statistics.median(asking.refreshes) * 1000:.1f} ms, "
          f"at most {max(asking.refreshes):.2f} s, {asking.unanswered} unanswered; {len(asking.codes)} newcomers refused "
          f"within {max(asking.refusals, default=0):.2f} s",
          flush=True)
    print(f"     datagrams: {account.close()}", flush=True)
    assert offered >= LEAST * capacity, f"only {offered:.0f} packets a second could be offered, {capacity:.0f} relayed"
    assert through >= 0.3 * capacity * SECONDS, f"only {through} packets came through"
    assert set(asking.codes) <= {486, 508}, asking.codes
    # Requests have a socket of their own, whose buffer no data fills, and peers' data is at the relayed addresses.
    assert asking.unanswered == 0, f"{asking.unanswered} refreshes were not answered"
    assert asking.codes and max(asking.refusals) < 4 and max(asking.refreshes) < 2, "requests wait behind data"
    at_once = sum(seconds < PATIENCE[0] for seconds in asking.refreshes)
    assert at_once >= 0.9 * len(asking.refreshes), f"{at_once} of {len(asking.refreshes)} refreshes were answered at once"
    assert late < bound, f"1 % of the packets came more than {late:.2f} s late"


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    users = [word for user, password in USERS.items() for word in ("--user", f"{user}:{password}")]
    for direction, bound in (("to-peers", 3), ("to-clients", 3)):
        with results.directory(options) as directory, Lab() as lab:
            with World(lab, binary, directory, *users, "--user-quota", str(RELAYING), "--total-quota", str(ALL),
                       slow=True) as world:
                outcome.run(f"{TIMES} times capacity, {direction.replace('-', ' ')}", overload, world, direction, bound)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
