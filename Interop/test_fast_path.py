#!/usr/bin/env python3
"""The kernel's fast path (`floe serve --fast-path`) against user space: the same packets, and what comes out of either."""

import contextlib
import ctypes
import json
import os
import random
import re
import socket
import struct
import time

from blackbox import place
from lab import Lab, entered, require_root_and_tools, run
from support import results, server, stun

CLIENT, PEER, STRANGER = place.CLIENT, "203.0.113.50", place.FLOODER
CLIENT_PORT, PEER_PORT, CHANNEL, SERVER_PORT = 40000, 40001, 0x4ABC, 3478
CHANNEL_BIND, REFRESH, CHANNEL_NUMBER, LIFETIME = 0x009, 0x004, 0x000C, 0x000D
COUNT, SEED = 3000, 20240901
BPF_PROG_QUERY, TCX_INGRESS = 16, 46
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)


def attached(namespace):
    """How many programs are at the ingress of eth0."""
    with entered(namespace):
        index = socket.if_nametoindex("eth0")
        identifiers = (ctypes.c_uint32 * 8)()
        query = bytearray(struct.pack("=IIIIQI", index, TCX_INGRESS, 0, 0, ctypes.addressof(identifiers), 8).ljust(64, b"\0"))
        code = _libc.syscall(SYS_BPF, BPF_PROG_QUERY, (ctypes.c_char * 64).from_buffer(query), 64)
        assert code == 0, os.strerror(ctypes.get_errno())
    return struct.unpack_from("=I", query, 24)[0]


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


class Wire:
    """Frames to the server and from it, at one host."""

    def __init__(self, namespace, address, target):
        self.address = address
        with entered(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            self.socket.bind(("eth0", 0x0800))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.setblocking(False)
        self.head = target + bytes.fromhex(run_link(namespace).replace(":", "")) + b"\x08\0"

    def datagram(self, source_port, port, payload, source=None):
        head = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0)
        pseudo = socket.inet_aton(source or self.address) + socket.inet_aton(server.ADDRESS) + struct.pack(
            "!HH", 17, 8 + len(payload))
        return head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF) + payload

    def packet(self, content, *, tos=0, ttl=64, fragment=0, options=b"", source=None, ident=1, wrong=0, version=4):
        head = struct.pack("!BBHHHBBH4s4s", version << 4 | (5 + len(options) // 4), tos,
                           20 + len(options) + len(content), ident, fragment, ttl, 17, 0,
                           socket.inet_aton(source or self.address), socket.inet_aton(server.ADDRESS)) + options
        return head[:10] + struct.pack("!H", checksum(head) ^ wrong) + head[12:] + content

    def send(self, packet):
        self.socket.send(self.head + packet)

    def received(self, ports):
        """The packets that came from the server to one of the ports, without what may differ."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = self.socket.recvfrom(65536)
                packet = frame[14:]
                if where[2] == socket.PACKET_OUTGOING or packet[9] != 17 or packet[12:16] != socket.inet_aton(server.ADDRESS):
                    continue
                packet = packet[:struct.unpack("!H", packet[2:4])[0]]
                if struct.unpack("!H", packet[4 + 18:24])[0] not in ports and not packet[6] & 0x1F and not packet[7]:
                    continue
                found.append(packet)
        return found


def run_link(namespace):
    return json.loads(run("ip", "-n", namespace, "-json", "link", "show", "dev", "eth0"))[0]["address"]


def plain(packet, relay):
    """A packet with its checksums tried and the identification and the relayed port, which are drawn, taken out."""
    assert packet[0] == 0x45 and checksum(packet[:20]) == 0, f"a wrong header: {packet.hex()}"
    content = bytearray(packet[20:])
    # To clients user space sends with "don't fragment" as long as it knows of no smaller MTU on the way; the kernel's
    # packets may be cut, for it would not learn of one.
    fragment = bytes([packet[6] & 0x3F, packet[7]])
    return packet[:4] + fragment + packet[8:10] + packet[12:20] + bytes(content).replace(struct.pack("!H", relay), b"\xEE\xEE", 1)


def right_datagram(packet):
    """Whether the UDP checksum is right, or is left to a device to finish, as it is on virtual wires."""
    content, pseudo = packet[20:], packet[12:20] + struct.pack("!HH", 17, len(packet) - 20)
    return checksum(pseudo + content) == 0 or struct.unpack("!H", content[6:8])[0] == 0xFFFF - checksum(pseudo)


def normal(packet, relay):
    assert packet[6] & 0x3F or packet[7] or right_datagram(packet), f"a wrong checksum: {packet.hex()}"
    head, payload = plain(packet[:20] + packet[20:24], relay), packet[28:]
    # The transaction identifier of an indication is drawn.
    if payload[:2] == b"\0\x17":
        payload = payload[:8] + payload[20:]
    return head + packet[24:26] + payload


def traffic(rng, client, peer, stranger, relay):
    """One random packet: where it is sent, and what; right ones, and everything that may be wrong with them."""
    data = rng.randbytes(rng.choice((0, 1, 3, 20, 21, 160, 172, 1000, 1200, 1201)))
    to_peer = rng.random() < 0.5
    framed = struct.pack("!HH", CHANNEL, len(data)) + data
    wire, ports, payload = (client, [CLIENT_PORT, SERVER_PORT], framed) if to_peer else (peer, [PEER_PORT, relay], data)
    options = {"tos": rng.choice((0, 0, 0xB8, 0xB9, 0xC0, 0xE3, 3)), "ttl": rng.choice((64, 64, 64, 2, 255)),
               "fragment": rng.choice((0, 0x4000)), "ident": rng.randrange(65536)}
    kind = rng.randrange(22)
    if kind == 0:
        payload = struct.pack("!HH", CHANNEL, rng.randrange(65536)) + data
    elif kind == 1:
        payload = framed + rng.randbytes(rng.randrange(1, 8))
    elif kind == 2:
        payload = struct.pack("!HH", rng.choice((0x4ABD, 0x4000, 0x5000, 0x7FFF, 0x8000, 0x3FFF)), len(data)) + data
    elif kind == 3:
        ports = [ports[0] + 2, ports[1]]
    elif kind == 4:
        ports = [ports[0], relay if to_peer else SERVER_PORT]
    elif kind == 5:
        wire = stranger
    elif kind == 6:
        options["ttl"] = rng.choice((0, 1))
    elif kind == 7:
        options["options"] = b"\x01" * 4
    elif kind == 8:
        options["wrong"] = 1 << rng.randrange(16)
    elif kind == 9:
        options["version"] = rng.choice((0, 5, 6))
    elif kind == 10:
        options["fragment"] = rng.choice((0x2000, 1, 0x1FFF))
    content = wire.datagram(*ports, payload)
    if kind == 11:
        content = content[:6] + struct.pack("!H", struct.unpack("!H", content[6:8])[0] ^ 1 << rng.randrange(16)) + content[8:]
    elif kind == 12:
        content = content[:4] + struct.pack("!H", rng.choice((0, 7, 8, len(content) - 1, len(content) + 1))) + content[6:]
    elif kind == 13 and len(content) > 12:
        at = rng.randrange(8, len(content))
        content = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1:]
    elif kind == 14:
        content = content[:6] + b"\0\0" + content[8:]
    packets = [wire.packet(content, **options)]
    if kind == 15 and len(content) > 24:
        options["fragment"] = 0x2000
        second = options | {"fragment": 2}
        packets = [wire.packet(content[:16], **options), wire.packet(content[16:], **second)]
    elif kind == 16:
        packets[0] += rng.randbytes(rng.randrange(1, 10))
    elif kind == 17:
        packets[0] = packets[0][:rng.randrange(len(packets[0]))] or b"\0"
    return wire, packets


class Scene:
    """A server, a client with one bound channel, and its peer."""

    def __init__(self, here, peer, floe):
        self.here, self.floe = here, floe
        target = bytes.fromhex(run_link(here.there).replace(":", ""))
        with entered(here.client):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((CLIENT, CLIENT_PORT))
        self.socket.settimeout(3)
        self.socket.connect((server.ADDRESS, SERVER_PORT))
        with entered(peer):
            # Without it the peer's system would answer with ICMP, which the server reports to the client.
            self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sink.bind((PEER, PEER_PORT))
        self.sink.settimeout(3)
        self.allocation = stun.Allocation(self.socket, "alice", "wonderland")
        assert self.allocation.answer.outcome == stun.SUCCESS, self.allocation.answer.error
        self.relay = self.allocation.answer.address(stun.RELAYED_ADDRESS)[1]
        bound = self.allocation.request(CHANNEL_BIND, (CHANNEL_NUMBER, struct.pack("!HH", CHANNEL, 0)),
                                        (stun.PEER_ADDRESS, stun.xor_address(PEER, PEER_PORT)))
        assert bound.outcome == stun.SUCCESS, bound.error
        # Neighbour tables are filled, so that no packet waits for an answer.
        self.socket.send(struct.pack("!HH", CHANNEL, 3) + b"one")
        data, self.relayed = self.sink.recvfrom(2048)
        assert data == b"one", data
        self.sink.sendto(b"two", self.relayed)
        assert self.socket.recv(2048) == struct.pack("!HH", CHANNEL, 3) + b"two"
        self.client = Wire(here.client, CLIENT, target)
        self.peer = Wire(peer, PEER, target)
        self.stranger = Wire(here.flooder, STRANGER, target)

    def play(self, seed):
        """Sends the traffic of one seed and returns what the client and the peer got, in no order."""
        rng = random.Random(seed)
        for index in range(COUNT):
            wire, packets = traffic(rng, self.client, self.peer, self.stranger, self.relay)
            for packet in packets:
                with contextlib.suppress(OSError):
                    wire.send(packet)
            if index % 100 == 99:
                self.settle()
        self.settle()
        return [sorted(normal(packet, self.relay) for packet in wire.received(ports)) for wire, ports in (
            (self.client, {CLIENT_PORT, CLIENT_PORT + 2}), (self.peer, {PEER_PORT, PEER_PORT + 2}),
            (self.stranger, {CLIENT_PORT, PEER_PORT}))]

    def settle(self):
        """Until the server has answered a request, everything before that is through."""
        self.drain()
        for _ in range(2):
            with self.here.udp(self.here.flooder) as other:
                stun.ask(other, stun.build(stun.BINDING))

    def drain(self):
        for one in (self.socket, self.sink):
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError, OSError):
                while one.recv(65536):
                    pass
            one.settimeout(3)

    def count(self, name):
        return sum(int(float(value)) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.floe.metrics(), re.M))

    def eventually_counted(self, name, least):
        deadline = time.monotonic() + 5
        while (found := self.count(name)) < least and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def close(self):
        for one in (self.socket, self.sink, self.client.socket, self.peer.socket, self.stranger.socket):
            one.close()


@contextlib.contextmanager
def scene(here, peer, *options):
    floe = here.floe("--user", "alice:wonderland", "--threads", "1", *server.allow("203.0.113.0/24"), *options)
    with floe:
        made = Scene(here, peer, floe)
        try:
            yield made
        finally:
            made.close()


def compare(here, peer):
    """Random and hostile packets: byte by byte the same comes out, and the same is counted."""
    with scene(here, peer) as slow:
        wanted = slow.play(SEED)
        slow_count = slow.eventually_counted("floe_turn_relayed_packets_total", len(wanted[0]) + len(wanted[1]))
        assert attached(here.there) == 0
    assert len(wanted[0]) > COUNT / 5 and len(wanted[1]) > COUNT / 5, [len(part) for part in wanted]
    with scene(here, peer, "--fast-path", "eth0") as fast:
        found = fast.play(SEED)
        count = fast.eventually_counted("floe_turn_relayed_packets_total", slow_count)
        relayed = fast.eventually_counted("floe_turn_fast_path_packets_total", 1)
    for who, one, other in zip(("client", "peer", "stranger"), wanted, found):
        missing, excess = list(one), []
        for packet in other:
            if packet in missing:
                missing.remove(packet)
            else:
                excess.append(packet)
        assert not missing and not excess, (
            f"the {who}: {len(missing)} missing, such as {[p.hex() for p in missing[:2]]}, "
            f"{len(excess)} too many, such as {[p.hex() for p in excess[:2]]}")
    assert relayed > slow_count / 3, f"the kernel has relayed {relayed} of {slow_count} only"
    assert count == slow_count, f"{count} are counted, {slow_count} without the fast path"


def ends(here, peer):
    """The kernel relays while the channel is there, and nothing more once the allocation is deleted."""
    with scene(here, peer, "--fast-path", "eth0") as fast:
        assert attached(here.there) == 1
        assert fast.count("floe_turn_fast_path_flows") == 2 or fast.eventually_counted("floe_turn_fast_path_flows", 2) == 2
        frame = struct.pack("!HH", CHANNEL, 4) + b"data"
        fast.client.send(fast.client.packet(fast.client.datagram(CLIENT_PORT, SERVER_PORT, frame)))
        assert fast.sink.recv(100) == b"data"
        assert fast.eventually_counted("floe_turn_fast_path_packets_total", 1) >= 1
        deleted = fast.allocation.request(REFRESH, (LIFETIME, bytes(4)))
        assert deleted.outcome == stun.SUCCESS
        fast.client.send(fast.client.packet(fast.client.datagram(CLIENT_PORT, SERVER_PORT, frame)))
        fast.settle()
        fast.sink.settimeout(0.1)
        try:
            raise AssertionError(f"still relayed: {fast.sink.recv(100)}")
        except TimeoutError:
            pass


def killed(here, peer):
    """Nothing is left at the interface after an end of any kind."""
    for end in ("kill", "terminate"):
        with scene(here, peer, "--fast-path", "auto") as fast:
            assert attached(here.there) == 1
            getattr(fast.floe, end)()
            deadline = time.monotonic() + 5
            while attached(here.there) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert attached(here.there) == 0, f"after {end} a program is left"


def refused(here, _):
    """A fast path that was asked for by name and cannot be had is an error in one sentence."""
    for options in (("--fast-path", "nowhere0"), ("--fast-path", "eth0", "--total-kbps", "1000")):
        done = here.run_floe("serve", "--state", here.fresh(), *place.COMMON, *options)
        assert done.returncode != 0 and "--fast-path" in place.sentence(done.stderr), done.stderr


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        here = place.Place(lab, binary, directory)
        peer = lab.host("peer", f"{PEER}/24")
        # Virtual wires would carry what user space sends in one call as one packet.
        lab.ip(here.there, "link set eth0 gso_max_segs 1")
        for name, one in (("the same traffic with and without the fast path", compare), ("the end of an allocation", ends),
                          ("the end of the server", killed), ("what cannot be had", refused)):
            outcome.run(name, one, here, peer)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
