"""A flood of datagrams from forged sources: memory stays flat, honest clients are served, no datagram is unaccounted for.

With each way to receive datagrams that this machine offers, or the one that --io names.

--count N       datagrams to send each time (default 300000)
--rate N        datagrams a second at most (default 100000)
"""

import contextlib
import os
import re
import socket
import subprocess
import threading
import time

from lab import Lab, entered, require_root_and_tools
from support import results, server, stun

USER, PASSWORD = "alice", "wonderland"
HERE = os.path.dirname(os.path.abspath(__file__))


COUNT, RATE = results.option("--count", 300_000), results.option("--rate", 100_000)

# Buffers of a thread that may come into use while it is flooded (Documentation/DataPath.md).
BUFFERS = {"epoll": 64, "sk_lookup": 64, "io_uring": 1024}
# What a datagram of the flood touches of one: a page, and the next if its 220 bytes with all headers reach over the edge.
BUFFER_KIB = 4 * (1 + 220 / 4096)
# What else may grow, once as many datagrams have come as before each flood here.
ELSE_KIB = 1024


def compiled(directory):
    path = os.path.join(directory, "flood")
    subprocess.run(["clang", "-O2", "-Wall", "-Werror", "-o", path, os.path.join(HERE, "flood", "flood.c")], check=True)
    return path


def resident(floe):
    """The resident memory of the server's process in KiB; it runs in the place of `ip netns exec`."""
    with open(f"/proc/{floe.process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def back_end(floe):
    """How the server receives datagrams, and by how many threads."""
    (kind, threads), = re.findall(r'^floe_turn_threads{io="(\w+)"} ([1-9]\d*)$', floe.metrics(), re.M)
    return kind, int(threads)


def room(floe):
    """By how many KiB resident memory may grow in a flood."""
    kind, threads = back_end(floe)
    return int(ELSE_KIB + threads * BUFFERS[kind] * BUFFER_KIB)


def kernel(namespace):
    """What the kernel's UDP has delivered to sockets and dropped for want of room."""
    with entered(namespace), open("/proc/thread-self/net/snmp") as file:
        names, values = [line.split()[1:] for line in file if line.startswith("Udp:")]
    table = dict(zip(names, map(int, values)))
    return table["InDatagrams"], table["RcvbufErrors"]


def counters(floe):
    """What the server says has become of datagrams: answered, relayed, dropped by it, dropped by the kernel."""
    found = {}
    for name, value in re.findall(r"^(floe_turn_\w+)(?:{[^}]*})? (\d+)$", floe.metrics(), re.M):
        found[name] = found.get(name, 0) + int(value)
    return {
        "answered": found["floe_turn_successes_total"] + found["floe_turn_errors_total"],
        "relayed": found["floe_turn_relayed_packets_total"],
        "dropped": found["floe_turn_drops_total"] + found["floe_turn_driver_drops_total"],
        "kernel": found["floe_turn_kernel_drops_total"],
        "allocations": found["floe_turn_allocations"],
    }


def amplification(namespace):
    """The answer's size over the request's, for what nobody has to prove anything for."""
    with entered(namespace):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(2)
    found = {}
    with client:
        for name, request in (("Binding", stun.build(stun.BINDING)),
                              ("Allocate", stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT)),
                              ("Refresh", stun.build(0x004))):
            client.sendto(request, (server.ADDRESS, 3478))
            found[name] = len(client.recv(2048)) / len(request)
    return found


class Honest(threading.Thread):
    """A client that allocates, echoes and deletes, again and again until it is told to stop."""

    def __init__(self, binary, namespace):
        super().__init__()
        self.command = ["ip", "netns", "exec", namespace, binary, "turn", f"turn:{server.ADDRESS}",
                        "--user", USER, "--password", PASSWORD, "--count", "20"]
        self.stop, self.runs, self.failures = threading.Event(), 0, []

    def run(self):
        while not self.stop.wait(0.1):
            done = subprocess.run(self.command, text=True, capture_output=True, timeout=120)
            self.runs += 1
            if done.returncode:
                self.failures.append(done.stdout + done.stderr)


def settled(floe, there):
    """The counters of kernel and server, when the server has worked through what stood before it and has told so."""
    found = (kernel(there), counters(floe))
    for _ in range(20):
        time.sleep(1.2)
        last, found = found, (kernel(there), counters(floe))
        if last == found:
            break
    return found


def flood(binary, program, floe, there, attacker, client):
    """turn 210: memory stays flat under 10^7 distinct sources, and honest clients are served throughout."""
    warm = subprocess.run(["ip", "netns", "exec", attacker, program, server.ADDRESS, "3478", "100000", str(RATE), "1"],
                          check=True, capture_output=True)
    assert int(warm.stdout) == 100000
    before = settled(floe, there)
    memory = resident(floe)
    honest = Honest(binary, client)
    honest.start()
    started = time.monotonic()
    sender = subprocess.run(["ip", "netns", "exec", attacker, program, server.ADDRESS, "3478", str(COUNT), str(RATE),
                             "2"], check=True, capture_output=True)
    seconds = time.monotonic() - started
    honest.stop.set()
    honest.join()
    after = settled(floe, there)
    grown = resident(floe) - memory
    delivered, refused = (after[0][index] - before[0][index] for index in (0, 1))
    told = {name: after[1][name] - before[1][name] for name in after[1]}
    print(f"     {int(sender.stdout)} datagrams in {seconds:.1f} s, {delivered} delivered, {refused} dropped by the kernel; "
          f"{told}; {honest.runs} honest runs, memory {grown:+d} KiB", flush=True)
    assert not honest.failures, honest.failures[0]
    assert honest.runs > 0, "no honest client ran"
    assert grown < room(floe), f"memory grew by {grown} KiB, its buffers take {room(floe)} at most"
    assert after[1]["allocations"] == 0, after[1]
    accounted = told["answered"] + told["relayed"] + told["dropped"]
    assert accounted == delivered, f"{delivered} datagrams came in, {accounted} are accounted for"
    assert told["kernel"] == refused, f"the kernel dropped {refused}, the server says {told['kernel']}"
    assert delivered + refused >= 0.9 * COUNT, "the flood has not reached the server"


def relay_flood(binary, program, floe, attacker, client):
    """turn 212: a flood to one relayed address reaches nobody, starves nobody, and grows nothing."""
    with entered(client):
        one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with one, other:
        for each in (one, other):
            each.settimeout(5)
            each.connect((server.ADDRESS, 3478))
        victim, honest = (stun.Allocation(each, USER, PASSWORD) for each in (one, other))
        address, port = victim.answer.address(stun.RELAYED_ADDRESS)
        # Two allocations of one server are peers that no forged source can be.
        peer = honest.answer.address(stun.RELAYED_ADDRESS)
        assert victim.permit(peer[0]) is None and honest.permit(address) is None
        memory, before = resident(floe), counters(floe)
        runner = Honest(binary, client)
        runner.start()
        subprocess.run(["ip", "netns", "exec", attacker, program, address, str(port), str(COUNT // 4), str(RATE), "3"],
                       check=True, capture_output=True)
        runner.stop.set()
        runner.join()
        # What is sent to the flooded address by whom it permits still comes, once its buffer has room again.
        one.settimeout(1)
        for _ in range(5):
            other.send(stun.build(0x016, (stun.PEER_ADDRESS, stun.xor_address(address, port)), (0x0013, b"still there")))
            with contextlib.suppress(TimeoutError):
                assert b"still there" in one.recv(2048)
                break
        else:
            raise AssertionError("nothing reaches the relayed address after the flood")
        time.sleep(1.2)
        grown, dropped = resident(floe) - memory, counters(floe)["dropped"] - before["dropped"]
    print(f"     {COUNT // 4} datagrams to {port}, {dropped} dropped by the server, {runner.runs} honest runs, "
          f"memory {grown:+d} KiB", flush=True)
    assert runner.runs > 0 and not runner.failures, runner.failures[:1]
    assert dropped > COUNT // 40, "the flood has not reached the relayed address"
    assert grown < room(floe), f"memory grew by {grown} KiB, its buffers take {room(floe)} at most"


def small(client):
    """What is answered without proof is not much longer than the question."""
    found = amplification(client)
    print("     answer over request: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)
    assert all(value <= 8 for value in found.values()), found


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        program = compiled(directory)
        there = lab.host("server", f"{server.ADDRESS}/24")
        attacker = lab.host("attacker", "203.0.113.66/24")
        client = lab.host("client", "203.0.113.20/24")
        tried = set()
        for io in [server.IO[1]] if server.IO else ["epoll", "auto", "sk_lookup"]:
            with server.FloeServer(binary, there, os.path.join(directory, io), "--listen", server.ADDRESS, "--realm",
                                   "example.org", *server.allow(*server.LAB_PEERS), "--user", f"{USER}:{PASSWORD}",
                                   "--io", io) as floe:
                kind, _ = back_end(floe)
                if kind in tried:
                    print("     io_uring is refused here: it is not flooded", flush=True)
                    continue
                tried.add(kind)
                outcome.run(f"{kind}: answers without proof are short (turn 210)", small, client)
                outcome.run(f"{kind}: {COUNT} datagrams from forged sources (turn 210)", flood, binary, program, floe,
                            there, attacker, client)
                outcome.run(f"{kind}: {COUNT // 4} datagrams to one relayed address (turn 212)", relay_flood, binary,
                            program, floe, attacker, client)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
