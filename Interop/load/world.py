"""A server on one processor, generators on another, and what both say of themselves."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

from lab import entered
from support import server

CLIENT = "203.0.113.20"


def _prepare():
    # Whatever else the machine does must not keep the load from being what the test says.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    # Where the kernel shares processors among sessions first, priorities count inside a session only.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write("-10")


def floe_bench(binary, namespace, user, password, *options):
    """Starts `floe bench` in a namespace, on the last processor."""
    command = ["ip", "netns", "exec", namespace, binary, "bench", f"turn:{server.ADDRESS}", "--user", user,
               "--password", password, "--local", CLIENT, "--json", *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, preexec_fn=_prepare)


def result(process):
    """What a generator has found; fails with its words if it has found nothing."""
    out, error = process.communicate()
    assert out.startswith("{"), f"floe bench says: {error.strip() or out.strip()}"
    found = json.loads(out)
    assert found["corrupt"] == 0, found
    return found


class World:
    """The server and the namespace of its clients.

    A `slow` server shares its processor with something more important, which leaves it a tenth: a generator can then
    offer many times what it relays.
    """

    def __init__(self, lab, binary, directory, *options, slow=False):
        self.binary, self.slow, self.busy = binary, slow, None
        self.there = lab.host("server", f"{server.ADDRESS}/24")
        self.here = lab.host("client", f"{CLIENT}/24")
        # What is sent in one piece arrives one by one, so that the kernel's counters count packets.
        lab.ip(self.here, "link set eth0 gso_max_segs 1")
        self.floe = server.FloeServer(
            binary, self.there, directory, "--listen", server.ADDRESS, "--realm", "example.org", "--threads", "1",
            "--log-level", "warning", "--relay-ports", "10000-60000", "--prefix-rate", "100000000",
            *server.allow(*server.LAB_PEERS), *options)

    def __enter__(self):
        self.floe.start()
        first = min(os.sched_getaffinity(0))
        for task in os.listdir(f"/proc/{self.floe.process.pid}/task"):
            os.sched_setaffinity(int(task), {first})
        if self.slow:
            self.busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            os.sched_setaffinity(self.busy.pid, {first})
            os.setpriority(os.PRIO_PROCESS, self.busy.pid, -10)
        return self

    def __exit__(self, *_):
        if self.busy:
            self.busy.kill()
            self.busy.wait()
        self.floe.kill()

    def bench(self, user, password, *options):
        return floe_bench(self.binary, self.here, user, password, *options)

    def run(self, user, password, *options):
        return result(self.bench(user, password, *options))

    def memory(self):
        """The resident memory of the server in KiB."""
        with open(f"/proc/{self.floe.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.floe.process.pid}/fd"))

    def metric(self, name):
        """The sum of a metric over its labels."""
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\d+)$", self.floe.metrics(), re.M)
        assert found, f"there is no metric {name}"
        return sum(map(int, found))


class Account:
    """What becomes of every datagram that reaches the server's namespace, by its kernel and by the server."""

    def __init__(self, world):
        self.world = world
        self.before = self._count()

    def _count(self):
        # The server tells what it has done twice a second.
        time.sleep(1.2)
        metric = self.world.metric
        with entered(self.world.there), open("/proc/thread-self/net/snmp") as file:
            names, values = [line.split()[1:] for line in file if line.startswith("Udp:")]
        table = dict(zip(names, map(int, values)))
        return {
            "delivered": table["InDatagrams"],
            "relayed": metric("floe_turn_relayed_packets_total"),
            "answered": metric("floe_turn_successes_total") + metric("floe_turn_errors_total"),
            "dropped": metric("floe_turn_drops_total") + metric("floe_turn_driver_drops_total"),
            "not sent": metric("floe_turn_send_errors_total"),
            "refused by the kernel": table["RcvbufErrors"] + table["MemErrors"],
            "of which the server knows": metric("floe_turn_kernel_drops_total"),
        }

    def close(self):
        """What has happened since; fails if a datagram is unaccounted for."""
        now = self._count()
        told = {name: now[name] - self.before[name] for name in now}
        found = told["relayed"] + told["answered"] + told["dropped"]
        assert found == told["delivered"], f"{told['delivered']} datagrams came in, {found} are accounted for: {told}"
        assert told["of which the server knows"] == told["refused by the kernel"], told
        return told
