#!/usr/bin/env python3
"""Measures `floe serve` with and without the kernel's fast path, and coturn, between two namespaces; prints a table.

Each side of a virtual wire pays for its own reception, in a NAPI thread of its own, as with a network card. Server and its
thread have one core, clients and peers with theirs the other. The ways alternate within each round; take the ratios.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from lab import Lab, LabError, entered, require_root_and_tools

SERVER, CLIENT, PEER = "203.0.113.10", "203.0.113.40", "203.0.113.41"
SIOCETHTOOL, SET_TX_CHECKSUM, SET_GRO = 0x8946, 0x17, 0x2C
FIRST = ("nice", "-n", "-20")
WAYS = ("coturn", "floe", "floe --fast-path")
LOADS = {
    "172 B to peers, 100 allocations": ("--clients", "100"),
    "172 B to clients, 100 allocations": ("--clients", "100", "--direction", "to-clients"),
    "1200 B to peers, 100 allocations": ("--clients", "100", "--size", "1200"),
    "20,000 packets/s of 172 B both ways, 1000 allocations": ("--clients", "1000", "--direction", "both", "--rate", "20000"),
}


def ethtool(namespace, interface, command, value):
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        argument = ctypes.create_string_buffer(struct.pack("=II", command, value))
        request = struct.pack("@16sP16x", interface.encode(), ctypes.addressof(argument))
        fcntl.ioctl(made, SIOCETHTOOL, request)


def thread_of(interface):
    """The kernel thread that receives for an interface."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/comm") as file:
            name = file.read().strip()
            if name.startswith(f"napi/{interface}-"):
                return int(process), name
    raise LabError(f"{interface} has no NAPI thread")


def wire(lab):
    """Two namespaces with one virtual wire; the clients' packets have their checksums, as a card would have made them."""
    there, clients = lab.namespace("server"), lab.namespace("clients")
    lab.link(there, "fps0", clients, "fpc0")
    lab.ip(there, f"addr add {SERVER}/24 dev fps0")
    lab.ip(clients, f"addr add {CLIENT}/24 dev fpc0", f"addr add {PEER}/24 dev fpc0")
    ethtool(clients, "fpc0", SET_TX_CHECKSUM, 0)
    for core, (namespace, interface) in enumerate(((there, "fps0"), (clients, "fpc0"))):
        ethtool(namespace, interface, SET_GRO, 1)
        # /sys shows the interfaces of the namespace that it was mounted in: `ip netns exec` mounts its own.
        subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", f"echo 1 > /sys/class/net/{interface}/threaded"], check=True)
        thread = thread_of(interface)[0]
        subprocess.run(["taskset", "-p", "-c", str(core), str(thread)], check=True, stdout=subprocess.DEVNULL)
        os.setpriority(os.PRIO_PROCESS, thread, -20)
    return there, clients


def command(way, binary, directory):
    if way == "coturn":
        return ["turnserver", "-n", f"--listening-ip={SERVER}", f"--relay-ip={SERVER}", "--lt-cred-mech", "--user=u:p",
                "--realm=r", "--no-cli", "--no-tls", "--no-dtls", "--no-software-attribute", "--min-port=20000",
                "--max-port=65535", "-m", "1", "--log-file=/dev/null", "--pidfile", f"{directory}/pid"]
    words = [binary, "serve", "--state", directory, "--listen", SERVER, "--realm", "r", "--user", "u:p", "--threads", "1",
             "--user-quota", "5000", "--allow-peer", "203.0.113.0/24"]
    return words + (["--fast-path", "fps0"] if "fast" in way else [])


def measure(there, clients, binary, way, load, seconds):
    with tempfile.TemporaryDirectory() as directory:
        started = subprocess.Popen(
            ["ip", "netns", "exec", there, *FIRST, "taskset", "-c", "0", *command(way, binary, directory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(2)
            bench = subprocess.run(
                ["ip", "netns", "exec", clients, *FIRST, "taskset", "-c", "1", binary, "bench", f"turn:{SERVER}", "--user", "u",
                 "--password", "p", "--local", CLIENT, "--peer-address", PEER, "--window", "1024", "--seconds", str(seconds),
                 "--server-pid", str(started.pid), "--server-thread", thread_of("fps0")[1], "--json", *load],
                text=True, capture_output=True, timeout=120 + seconds)
        finally:
            started.terminate()
            started.wait()
    if bench.returncode:
        print(f"{way}: {bench.stderr.strip()}", file=sys.stderr)
        return None
    return json.loads(bench.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--floe", default=".build/release/floe", help="the binary (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    binary = os.path.abspath(options.floe)
    require_root_and_tools("turnserver", "taskset")
    with Lab() as lab:
        there, clients = wire(lab)
        for name, load in LOADS.items():
            found = {way: [] for way in WAYS}
            for _ in range(options.rounds):
                for way in WAYS:
                    found[way].append(measure(there, clients, binary, way, load, options.seconds))
            print(name)
            for way, all_results in found.items():
                report(way, all_results, found["floe --fast-path"])
    return 0


def report(way, all_results, fastest):
    shown = [one for one in all_results if one]
    if not shown:
        return print(f"  {way}: nothing came through")
    costs = [one["serverMicroseconds"] for one in shown]
    ratios = [a["serverMicroseconds"] / b["serverMicroseconds"] for a, b in zip(all_results, fastest) if a and b]
    latencies = [one["p99"] for one in shown]
    lost = [100 * one["lost"] / max(1, one["sent"]) for one in shown]
    return print(f"  {way}: {min(costs):.2f} / {statistics.median(costs):.2f} / {max(costs):.2f} µs a packet, "
                 f"{min(ratios or [0]):.1f} to {max(ratios or [0]):.1f} times the fast path; "
                 f"p99 {statistics.median(latencies):.0f} µs, {max(lost):.1f} % lost")


if __name__ == "__main__":
    main()
