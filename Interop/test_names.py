"""Servers found by name: SRV, NAPTR and address records from a name server in the lab, through the system's set-up.

Servers found without a name too: by the machine's own domain, and at an anycast address (RFC 8155). `floe turn` and
`floe stun` run where /etc/resolv.conf names a server of this test's own.
"""

import contextlib
import functools
import os
import socket
import struct
import subprocess
import threading

from lab import Lab, entered, require_root_and_tools
from support import results, server, sockets, stun

NAME_SERVER = "203.0.113.53"
USER, PASSWORD = "alice", "wonderland"
A, NAPTR, SRV, AAAA = 1, 35, 33, 28
DEAD = "203.0.113.99"
ANYCAST, NEAREST = "192.0.0.10", "203.0.113.12"


def wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


def text(value):
    return bytes([len(value)]) + value.encode()


def address(value):
    return socket.inet_aton(value)


def srv(priority, weight, port, target):
    return struct.pack("!HHH", priority, weight, port) + wire(target)


def naptr(order, preference, flags, service, replacement):
    return struct.pack("!HH", order, preference) + text(flags) + text(service) + b"\0" + wire(replacement)


ZONE = {
    ("relay.example", A): [address(server.ADDRESS)],
    ("_turn._udp.srv.example", SRV): [srv(0, 0, 3478, "relay.example")],
    ("_stun._udp.srv.example", SRV): [srv(0, 0, 3478, "relay.example")],
    ("naptr.example", NAPTR): [naptr(100, 10, "", "RELAY:turn.udp:turn.tcp", "more.example")],
    ("more.example", NAPTR): [naptr(10, 10, "S", "RELAY:turn.udp", "_turn._udp.srv.example"),
                              naptr(20, 10, "A", "RELAY:turn.tcp", "relay.example")],
    # The first address does not answer; the second one does.
    ("two.example", A): [address(DEAD), address(server.ADDRESS)],
    # More than a datagram takes: the answer is cut off and asked for again over TCP.
    ("_turn._udp.many.example", SRV): [srv(9, 0, 9, f"{'x' * 60}{number}.example") for number in range(15)]
    + [srv(0, 0, 3478, "relay.example")],
    ("_turn._udp.off.example", SRV): [srv(0, 0, 0, "")],
    ("off.example", A): [address(server.ADDRESS)],
}


class NameServer:
    """Answers from the zone, over UDP and TCP, until it is closed."""

    def __init__(self, namespace):
        self.over_tcp = 0
        with entered(namespace):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.create_server((NAME_SERVER, 53))
        self.udp.bind((NAME_SERVER, 53))
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._datagrams, self._streams)]
        for thread in self.threads:
            thread.start()

    def close(self):
        for item in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def _datagrams(self):
        with contextlib.suppress(OSError):
            while True:
                query, source = self.udp.recvfrom(2048)
                if not query:
                    return
                answer = self.answer(query)
                if len(answer) > 512:
                    answer = answer[:2] + bytes([answer[2] | 2]) + answer[3:6] + bytes(6) + answer[12:self.end(query)]
                self.udp.sendto(answer, source)

    def _streams(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.tcp.accept()
                with client:
                    query = client.recv(2048)[2:]
                    self.over_tcp += 1
                    answer = self.answer(query)
                    client.sendall(struct.pack("!H", len(answer)) + answer)

    @staticmethod
    def end(query):
        offset = 12
        while query[offset]:
            offset += 1 + query[offset]
        return offset + 5

    def answer(self, query):
        labels, offset = [], 12
        while query[offset]:
            labels.append(query[offset + 1:offset + 1 + query[offset]].decode().lower())
            offset += 1 + query[offset]
        name, kind = ".".join(labels), struct.unpack("!H", query[offset + 1:offset + 3])[0]
        records = ZONE.get((name, kind), [])
        code = 0 if any(key[0] == name for key in ZONE) else 3
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data for data in records)
        head = query[:2] + bytes([0x85, 0x80 | code]) + struct.pack("!HHHH", 1, len(records), 0, 0)
        return head + query[12:self.end(query)] + body


@contextlib.contextmanager
def resolver(namespace, domain):
    """`ip netns exec` puts the files of this directory over those in /etc."""
    directory = f"/etc/netns/{namespace}"
    os.makedirs(directory)
    try:
        with open(f"{directory}/resolv.conf", "w") as file:
            file.write(f"nameserver {NAME_SERVER}\nsearch {domain}\noptions timeout:1\n")
        yield
    finally:
        os.remove(f"{directory}/resolv.conf")
        os.rmdir(directory)


def floe(binary, namespace, *words):
    return subprocess.run(["ip", "netns", "exec", namespace, binary, *words], text=True, capture_output=True, timeout=60)


def relays(binary, namespace, uri, *expected):
    """turn 93, 200, 202: an allocation is made at the server that the name leads to."""
    done = floe(binary, namespace, "turn", uri, "--user", USER, "--password", PASSWORD, "--count", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (f"{server.ADDRESS}:3478", "2 of 2", *expected):
        assert words in done.stdout, f"{words!r} is not in: {done.stdout}"


def binds(binary, namespace, operand):
    done = floe(binary, namespace, "stun", operand, "--count", "2")
    assert done.returncode == 0 and "2 of 2" in done.stdout, done.stdout + done.stderr


def fails(binary, namespace, uri, expected):
    done = floe(binary, namespace, "turn", uri, "--user", USER, "--password", PASSWORD)
    assert done.returncode != 0 and expected in done.stderr, done.stdout + done.stderr


def discovers(binary, namespace, *words, expected, password=PASSWORD, code=0):
    """turn 203: what nobody has configured is used if it knows the password."""
    done = floe(binary, namespace, "turn", "--discover", "--user", USER, "--password", password, "--count", "2", *words)
    assert done.returncode == code, done.stdout + done.stderr
    for part in expected:
        assert part in done.stdout + done.stderr, f"{part!r} is not in: {done.stdout + done.stderr}"


def anycast(binary, directory, lab):
    """turn 203: at an anycast address nobody stays; the server there has to send its clients elsewhere."""
    nearest = lab.host("nearest", f"{NEAREST}/24")
    lab.ip(nearest, f"addr add {ANYCAST}/32 dev eth0")
    lab.ip(lab.internet, f"route add {ANYCAST}/32 via {NEAREST}")
    client = lab.host("stray", "203.0.113.21/24")
    with resolver(client, "nowhere.example"), server.FloeServer(
            binary, nearest, f"{directory}/anycast", "--listen", ANYCAST, "--listen", NEAREST, "--relay-ip", NEAREST,
            "--realm", "example.org", "--user", f"{USER}:{PASSWORD}", *server.allow(*server.LAB_PEERS),
            "--total-quota", "1", "--alternate-server", f"{server.ADDRESS}:3478"):
        discovers(binary, client, code=1, expected=["has not named an address of its own"])
        with sockets.make(client, socket.SOCK_DGRAM) as made:
            made.connect((NEAREST, 3478))
            answer = stun.Allocation(made, USER, PASSWORD).answer
            assert answer.outcome == stun.SUCCESS, f"the only allocation there is refused with {answer.error}"
            discovers(binary, client, expected=["at an anycast address", f"{server.ADDRESS}:3478", "2 of 2"])
            discovers(binary, client, password="wrong", code=1, expected=["does not accept the credentials"])


def cut_off(binary, namespace, names):
    before = names.over_tcp
    relays(binary, namespace, "turn:many.example?transport=udp")
    assert names.over_tcp > before, "nobody asked over TCP"


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24")
        client = lab.host("client", "203.0.113.20/24")
        names = NameServer(lab.host("names", f"{NAME_SERVER}/24"))
        try:
            with resolver(client, "naptr.example"), server.FloeServer(
                    binary, there, directory, "--listen", server.ADDRESS, "--realm", "example.org",
                    *server.allow(*server.LAB_PEERS), "--user", f"{USER}:{PASSWORD}"):
                outcome.run("an address record and a port", relays, binary, client, "turn:relay.example:3478")
                outcome.run("SRV", relays, binary, client, "turn:srv.example?transport=udp", "over UDP")
                outcome.run("SRV of stun", binds, binary, client, "srv.example")
                outcome.run("NAPTR, for UDP", relays, binary, client, "turn:naptr.example", "over UDP")
                outcome.run("no SRV for TCP, but an address", relays, binary, client, "turn:relay.example?transport=tcp",
                            "over TCP")
                outcome.run("of two addresses one is dead", relays, binary, client, "turn:two.example:3478")
                outcome.run("more records than a datagram takes", cut_off, binary, client, names)
                outcome.run("discovery by the machine's domain (turn 203)", functools.partial(
                    discovers, binary, client, expected=["naptr.example", f"{server.ADDRESS}:3478 over UDP", "2 of 2"]))
                outcome.run("discovery by a domain without NAPTR records (turn 203)", functools.partial(
                    discovers, binary, client, "--domain", "relay.example", code=2, expected=["No TURN server was found"]))
                outcome.run("discovery at an anycast address (turn 203)", anycast, binary, directory, lab)
                outcome.run("a service that is declined", fails, binary, client, "turn:off.example?transport=udp",
                            "does not offer this service")
                outcome.run("a name that does not exist", fails, binary, client, "turn:none.example:1", "has no address")
        finally:
            names.close()
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
