"""A server, a client with one bound channel, and its peer."""

import contextlib
import ctypes
import os
import random
import re
import socket
import struct
import time

from blackbox import place
from lab import entered
from support import server, stun
from support.results import eventually

from . import traffic
from .wire import ANY_HOST, Wire, link_address

PEER, PEER6 = "203.0.113.50", "2001:db8::50"
CHANNEL_BIND, REFRESH, CHANNEL_NUMBER, LIFETIME = 0x009, 0x004, 0x000C, 0x000D
ADDRESS_FAMILY = 0x0017
SOL_UDP, UDP_SEGMENT = 17, 103
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


class Scene:
    CLIENT_PORT, PEER_PORT, CHANNEL, SERVER_PORT, OTHER_HOST = 40000, 40001, 0x4ABC, 3478, ANY_HOST

    def __init__(self, here, peer, floe, is_ipv6=False, allocate=None):
        self.here, self.floe, self.is_ipv6 = here, floe, is_ipv6
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        client_address, peer_address, stranger, self.address = (
            (place.CLIENT6, PEER6, place.FLOODER6, server.ADDRESS6) if is_ipv6 else
            (place.CLIENT, PEER, place.FLOODER, server.ADDRESS))
        self.socket = self.bound(here.client, family, (client_address, self.CLIENT_PORT))
        self.socket.connect((self.address, self.SERVER_PORT))
        # Without a socket the peer's system would answer with ICMP, which the server reports to the client.
        self.sink = self.bound(peer, family, (peer_address, self.PEER_PORT))
        wanted = ((ADDRESS_FAMILY, bytes((2 if is_ipv6 else 1, 0, 0, 0))),)
        self.allocation = allocate(self.socket) if allocate else stun.Allocation(
            self.socket, "alice", "wonderland", *wanted)
        assert self.allocation.answer.outcome == stun.SUCCESS, self.allocation.answer.error
        self.relay = self.allocation.answer.address(stun.RELAYED_ADDRESS)[1]
        self.bind()
        target = link_address(here.there)
        self.client = Wire(here.client, client_address, self.address, target)
        self.peer = Wire(peer, peer_address, self.address, target)
        self.stranger = Wire(here.flooder, stranger, self.address, target)
        # Neighbour tables are filled, so that no packet waits for an answer.
        self.relayed = self.to_peer(b"one")
        self.to_client(b"two")

    @staticmethod
    def bound(namespace, family, address):
        with entered(namespace):
            made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.settimeout(3)
        return made

    def bind(self, channel=CHANNEL, port=PEER_PORT):
        transaction = os.urandom(12)
        bound = self.allocation.request(
            CHANNEL_BIND, (CHANNEL_NUMBER, struct.pack("!HH", channel, 0)),
            (stun.PEER_ADDRESS, stun.xor_address(self.sink.getsockname()[0], port, transaction)), transaction=transaction)
        assert bound.outcome == stun.SUCCESS, bound.error

    # One datagram, which must come through.

    def framed(self, data):
        return struct.pack("!HH", self.CHANNEL, len(data)) + data

    def to_peer(self, data):
        """By the client's socket; returns the relayed address that it comes from."""
        self.socket.send(self.framed(data))
        received, source = self.sink.recvfrom(2048)
        assert received == data, received
        return source[:2]

    def to_client(self, data):
        self.sink.sendto(data, self.relayed)
        received = self.socket.recv(2048)
        assert received == self.framed(data), received

    def send_frame(self, data):
        """ChannelData as the kernel relays it: with a checksum that is final."""
        self.client.send(self.client.packet(self.client.datagram(self.CLIENT_PORT, self.SERVER_PORT, self.framed(data))))

    def send_peer_frame(self, data):
        self.peer.send(self.peer.packet(self.peer.datagram(self.PEER_PORT, self.relay, data)))

    def send_merged(self, to_peer, payload, count):
        sender = self.socket if to_peer else self.sink
        target = (self.address, self.SERVER_PORT) if to_peer else self.relayed
        size = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(payload)))] if count > 1 else []
        sender.sendmsg([payload * count], size, 0, target)

    @staticmethod
    def nothing_comes(to, why):
        to.settimeout(0.2)
        try:
            raise AssertionError(f"{why}: {to.recv(100)}")
        except TimeoutError:
            to.settimeout(3)

    # Much traffic.

    def play(self, seed, count):
        """Sends the traffic of one seed and returns what the client, the peer and a stranger got, in no order."""
        rng = random.Random(seed)
        for index in range(count):
            traffic.send_random(rng, self)
            if index % 64 == 63:
                self.settle()
        self.settle()
        return [sorted(packet.normal(self.relay) for packet in wire.received(ports)) for wire, ports in (
            (self.client, {self.CLIENT_PORT, self.CLIENT_PORT + 2}), (self.peer, {self.PEER_PORT, self.PEER_PORT + 2}),
            (self.stranger, {self.CLIENT_PORT, self.PEER_PORT}))]

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

    # What the server counts.

    def count(self, name):
        return sum(int(float(value)) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.floe.metrics(), re.M))

    def counted(self, name, least):
        """The sum, once it is so much."""
        eventually(lambda: f"{name} is {least}: {self.count(name)}", lambda: self.count(name) >= least, 5)
        return self.count(name)

    def settled(self, *names):
        """The sums once they stand still: what the page says may be half a second old."""
        found = None
        while (now := [self.count(name) for name in names]) != found:
            found = now
            time.sleep(0.8)
        return found

    def close(self):
        for one in (self.socket, self.sink, self.client, self.peer, self.stranger):
            one.close()


@contextlib.contextmanager
def scene(here, peer, *options, is_ipv6=False, allocate=None, user=("--user", "alice:wonderland")):
    allowed = server.allow("203.0.113.0/24", "2001:db8::/64")
    floe = here.floe("--listen", server.ADDRESS6, *user, "--threads", "1", *allowed, *options)
    with floe:
        made = Scene(here, peer, floe, is_ipv6, allocate)
        try:
            yield made
        finally:
            made.close()
