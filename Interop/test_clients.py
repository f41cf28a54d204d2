#!/usr/bin/env python3
"""Every kind of message that `floe serve` sends is read by two clients of others, libnice and aioice (turn 217).

aioice knows no method of RFC 6062; those are read by coturn's client too, in test_turnutils.py.
"""

import contextlib
import socket
import struct
import subprocess

from lab import Lab, require_root_and_tools
from support import clients, results, server, sockets, stun

PASSWORD = "password"
USERS = ("alice", "bob", "greedy")
CLIENT, CLIENT6 = "203.0.113.40", "2001:db8::40"
SECOND, FULL, ELSEWHERE = "203.0.113.31", "203.0.113.11", "203.0.113.12"
QUOTA = 4
REFRESH, CHANNEL_BIND, CONNECT, CONNECTION_BIND, CONNECTION_ATTEMPT, DATA = 0x004, 0x009, 0x00A, 0x00B, 0x00C, 0x007
CHANNEL_NUMBER, LIFETIME, FAMILY, EVEN_PORT, TOKEN, CONNECTION_ID = 0x0C, 0x0D, 0x17, 0x18, 0x22, 0x2A
TICKET, ADDITIONAL_FAMILY, ADDRESS_ERROR, ALTERNATE_SERVER, ICMP = 0x8030, 0x8000, 0x8001, 0x8023, 0x8004
TCP_TRANSPORT = (stun.REQUESTED_TRANSPORT, bytes([6, 0, 0, 0]))
IPV6 = bytes([2, 0, 0, 0])


class Ground:
    """Where the clients are, and how they reach the servers."""

    def __init__(self, namespace):
        self.namespace = namespace

    @contextlib.contextmanager
    def udp(self, user="alice", address=server.ADDRESS):
        with sockets.make(self.namespace, socket.SOCK_DGRAM) as made:
            made.connect((address, 3478))
            yield clients.Client(made, user, PASSWORD)

    @contextlib.contextmanager
    def tcp(self, user="alice"):
        with sockets.connect(self.namespace, server.ADDRESS, 3478) as made:
            yield clients.Client(made, user, PASSWORD)

    @contextlib.contextmanager
    def peer(self, kind):
        with sockets.make(self.namespace, kind) as made:
            made.bind((CLIENT, 0))
            yield made


def peer_address(made):
    return stun.PEER_ADDRESS, stun.xor_address(*made.getsockname())


def binding(ground):
    with ground.udp() as client:
        answer = client.ask(stun.BINDING)
        assert answer.address() == client.socket.getsockname(), answer.address()
        assert {0x802B, 0x802C} <= set(answer.attributes), "RESPONSE-ORIGIN and OTHER-ADDRESS are expected"
        client.ask(stun.BINDING, (0x7FFF, b"what"), expect=420)


def allocate(ground, attribute, due):
    """Allocate with what makes its response longer; then the allocation is deleted."""
    with ground.udp() as client:
        answer = client.log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT, attribute)
        assert due in answer.attributes, f"0x{due:04x} is not in {[hex(kind) for kind in answer.attributes]}"
        client.ask(REFRESH, (LIFETIME, bytes(4)))


def allocation(ground):
    """The life of an allocation, with every refusal on the way."""
    with ground.udp() as client, ground.peer(socket.SOCK_DGRAM) as peer:
        client.log_in()
        client.ask(REFRESH, expect=437)
        client.ask(stun.ALLOCATE, expect=400)
        client.ask(stun.ALLOCATE, (stun.REQUESTED_TRANSPORT, bytes([99, 0, 0, 0])), expect=442)
        client.ask(stun.ALLOCATE, stun.UDP_TRANSPORT, (TOKEN, b"nobody's"), expect=508)
        relayed = client.ask(stun.ALLOCATE, stun.UDP_TRANSPORT).address(stun.RELAYED_ADDRESS)
        client.ask(stun.ALLOCATE, stun.UDP_TRANSPORT, expect=437)
        client.ask(REFRESH)
        client.ask(stun.CREATE_PERMISSION, (stun.PEER_ADDRESS, stun.xor_address("127.0.0.1", 1)), expect=403)
        client.ask(stun.CREATE_PERMISSION, (stun.PEER_ADDRESS, bytes([0, 2]) + bytes(18)), expect=443)
        client.ask(stun.CREATE_PERMISSION, peer_address(peer))
        peer.sendto(b"from the peer", relayed)
        arrived = client.receive()
        assert arrived.method == DATA and arrived.attributes[0x13] == b"from the peer", arrived.attributes
        other = clients.Client(client.socket, "bob", PASSWORD).log_in()
        other.ask(REFRESH, expect=441)
        client.ask(CHANNEL_BIND, (CHANNEL_NUMBER, bytes([0x10, 0, 0, 0])), peer_address(peer), expect=400)
        client.ask(CHANNEL_BIND, (CHANNEL_NUMBER, bytes([0x40, 0, 0, 0])), peer_address(peer))
        client.credentials[2] = (stun.NONCE, b"of long ago")
        client.ask(REFRESH, expect=438)


def unreachable(ground):
    """A Data indication that carries an ICMP message of a peer that is gone."""
    with ground.udp() as client:
        with ground.peer(socket.SOCK_DGRAM) as peer:
            attribute = peer_address(peer)
        client.log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT)
        client.ask(stun.CREATE_PERMISSION, attribute)
        client.socket.send(stun.build(0x016, attribute, (0x13, b"to nobody")))
        assert ICMP in (answer := client.receive()).attributes, answer.attributes


def broken(ground):
    """Both clients do look: of a response with one wrong bit neither wants to know."""
    with ground.udp() as client:
        client.log_in()
        words = [stun.UDP_TRANSPORT, *client.credentials]
        client.socket.sendall(client.nice.request(stun.ALLOCATE, *words, authenticated=True))
        data = bytearray(client.socket.recv(2048))
        data[26] ^= 1
        for read, error in ((client.nice.read, AssertionError),
                            (lambda data: clients.aioice_reads(data, client.key), ValueError)):
            try:
                read(bytes(data))
            except error:
                continue
            raise RuntimeError(f"a wrong bit goes unnoticed: {data.hex()}")


def quota(ground):
    with contextlib.ExitStack() as stack:
        for _ in range(QUOTA):
            stack.enter_context(ground.udp("greedy")).log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT)
        stack.enter_context(ground.udp("greedy")).log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT, expect=486)


def wrong_password(ground):
    with ground.udp("nobody") as client:
        client.log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT, expect=401)


def connections(ground):
    """RFC 6062: connections to a peer and from it."""
    with ground.tcp("bob") as client, ground.peer(socket.SOCK_STREAM) as peer, ground.peer(socket.SOCK_STREAM) as caller:
        with ground.peer(socket.SOCK_STREAM) as gone:
            nobody = peer_address(gone)
        peer.listen()
        answer = client.log_in(TCP_TRANSPORT).ask(stun.ALLOCATE, TCP_TRANSPORT)
        number = client.ask(CONNECT, peer_address(peer)).attributes[CONNECTION_ID]
        client.ask(CONNECT, peer_address(peer), expect=446)
        client.ask(CONNECT, nobody, expect=447)
        with ground.tcp("bob") as data:
            data.log_in(TCP_TRANSPORT).ask(CONNECTION_BIND, (CONNECTION_ID, number))
        client.ask(stun.CREATE_PERMISSION, peer_address(caller))
        caller.connect(answer.address(stun.RELAYED_ADDRESS))
        attempt = client.receive()
        assert attempt.method == CONNECTION_ATTEMPT and CONNECTION_ID in attempt.attributes, attempt.attributes
        assert attempt.address(stun.PEER_ADDRESS) == caller.getsockname(), attempt.address(stun.PEER_ADDRESS)
        with ground.tcp("bob") as data:
            data.log_in(TCP_TRANSPORT).ask(CONNECTION_BIND, (CONNECTION_ID, bytes(4)), expect=400)


def floe_connects(ground, binary):
    """Our own client against our server: a connection between two TCP allocations (turn 161, 167, 169, 175)."""
    done = subprocess.run(["ip", "netns", "exec", ground.namespace, binary, "turn", f"turn:{server.ADDRESS}", "--tcp-relay",
                           "--user", "bob", "--password", PASSWORD], text=True, capture_output=True, timeout=30)
    assert done.returncode == 0 and "5 of 5" in done.stdout and "over TCP" in done.stdout, done.stdout + done.stderr


def full(ground):
    """A server of IPv4 alone, with room for one allocation and a neighbour."""
    ticket = (TICKET, b"")
    with ground.udp(address=FULL) as client, ground.udp("bob", FULL) as other:
        client.log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT, (FAMILY, IPV6), expect=440)
        client.ask(stun.ALLOCATE, stun.UDP_TRANSPORT, ticket, expect=405)
        answer = client.ask(stun.ALLOCATE, stun.UDP_TRANSPORT, (ADDITIONAL_FAMILY, IPV6))
        assert struct.unpack("!BxBB", answer.attributes[ADDRESS_ERROR][:4]) == (2, 4, 40), answer.attributes
        answer = other.log_in().ask(stun.ALLOCATE, stun.UDP_TRANSPORT, expect=300)
        assert ALTERNATE_SERVER in answer.attributes


def tests(ground):
    yield "Binding, and 420", binding, ground
    yield "Allocate with a reservation", allocate, ground, (EVEN_PORT, b"\x80"), TOKEN
    yield "Allocate of both families", allocate, ground, (ADDITIONAL_FAMILY, IPV6), stun.RELAYED_ADDRESS
    yield "Allocate of IPv6", allocate, ground, (FAMILY, IPV6), stun.RELAYED_ADDRESS
    yield "Allocate with a mobility ticket", allocate, ground, (TICKET, b""), TICKET
    yield "an allocation's life, 400, 403, 437, 438, 441, 442, 443, 508", allocation, ground
    yield "Data indication with an ICMP message", unreachable, ground
    yield "a response with one wrong bit, and refuse it", broken, ground
    yield "486", quota, ground
    yield "401 to a wrong name", wrong_password, ground
    yield "Connect, ConnectionBind, ConnectionAttempt, 446, 447", connections, ground
    yield "300, 405, 440, ADDRESS-ERROR-CODE", full, ground


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    users = [word for user in USERS for word in ("--user", f"{user}:{PASSWORD}")]
    common = [*users, "--realm", "floe.test", *server.allow(*server.LAB_PEERS)]
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24", f"{SECOND}/24", f"{server.ADDRESS6}/64")
        beside = lab.host("full", f"{FULL}/24")
        ground = Ground(lab.host("client", f"{CLIENT}/24", f"{CLIENT6}/64"))
        open_to_all = ["--listen", server.ADDRESS, "--listen", SECOND, "--listen", server.ADDRESS6,
                       "--relay-ip", server.ADDRESS, "--relay-ip", server.ADDRESS6, "--user-quota", str(QUOTA),
                       "--tcp-relay", "--mobility", "--nat-discovery", f"{server.ADDRESS}/{SECOND}"]
        narrow = ["--listen", FULL, "--total-quota", "1", "--alternate-server", f"{ELSEWHERE}:3478"]
        with server.FloeServer(binary, there, f"{directory}/one", *common, *open_to_all), \
                server.FloeServer(binary, beside, f"{directory}/two", *common, *narrow):
            for name, *words in tests(ground):
                outcome.run(f"libnice and aioice read: {name} (turn 217)", *words)
            outcome.run("floe turn --tcp-relay carries data between two allocations", floe_connects, ground, binary)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
