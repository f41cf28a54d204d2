"""STUN and TURN as a stranger sees them."""

import contextlib
import os
import socket
import struct
import time

from support import server, sockets, stun

from .place import CLIENT

LARGEST_CHALLENGE = 100
BURST = 24


def binding(place, port, tls=None):
    """A Binding request over UDP (`tls` is None), TCP or TLS is answered with the address that it came from."""
    if tls is None:
        with place.udp(port=port) as client:
            answer, own = stun.ask(client, stun.build(stun.BINDING)), client.getsockname()
    else:
        with sockets.connect(place.client, server.ADDRESS, port, tls=tls) as client:
            answer, own = stun.ask(client, stun.build(stun.BINDING)), client.getsockname()
    assert answer.outcome == stun.SUCCESS and answer.address() == own, f"{own} is told {answer.address()}"


def split_and_pipelined(place):
    """turn 19: requests in one segment and a request byte by byte are all answered."""
    with sockets.connect(place.client, server.ADDRESS, 3478) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in stun.build(stun.BINDING):
            client.sendall(bytes([byte]))
        data = client.recv(2048)
        size = len(data)
        assert stun.Message(data).outcome == stun.SUCCESS
        client.sendall(stun.build(stun.BINDING) * 5)
        data = b""
        while len(data) < 5 * size:
            data += client.recv(2048)
    answers = [stun.Message(data[place:place + size]) for place in range(0, 5 * size, size)]
    assert all(answer.outcome == stun.SUCCESS for answer in answers)


def half_closed(place):
    """turn 18: what is owed is answered to who says no more, and the client is the one that closes."""
    for tls in (False, True):
        port = 5349 if tls else 3478
        with sockets.connect(place.client, server.ADDRESS, port, tls=tls) as client:
            client.sendall(stun.build(stun.BINDING) * 3)
            if not tls:
                client.shutdown(socket.SHUT_WR)
            data, size = b"", None
            while size is None or len(data) < 3 * size:
                piece = client.recv(2048)
                assert piece, f"the server closed when {len(data)} bytes of its answers had come"
                data += piece
                size = 20 + struct.unpack("!H", data[2:4])[0] if len(data) >= 4 else None
            if tls:
                client.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    assert client.recv(1), "the server closed first"


def small_challenge(place):
    """An Allocate without credentials gets a 401 that is no amplifier (turn §3 number 3)."""
    with place.udp() as client:
        answer = stun.ask(client, stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT))
    assert answer.error == 401 and stun.REALM in answer.attributes and stun.NONCE in answer.attributes, answer.error
    assert answer.size < LARGEST_CHALLENGE, f"a 401 of {answer.size} bytes, at most {LARGEST_CHALLENGE} are expected"


def wrong_password(place):
    user, _ = place.credentials()
    for name in (user, "nobody", "1:expired"):
        with place.udp() as client:
            answer = stun.Allocation(client, name, "wrong").answer
        assert answer.error == 401, f"{name} with a wrong password: {answer.error}, expected 401"


def gate(place):
    """Peers in ranges that are nobody's business are refused when no option opens them (turn §3 number 1)."""
    with place.allocation() as allocation:
        assert allocation.answer.outcome == stun.SUCCESS, f"the allocation is refused with {allocation.answer.error}"
        assert allocation.answer.address(stun.RELAYED_ADDRESS)[0] == server.ADDRESS
        for address in ("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
                        "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.51.100.1", CLIENT):
            assert (error := allocation.permit(address)) == 403, f"permission for {address}: {error}, expected 403"
        assert (error := allocation.permit("9.9.9.9")) is None, f"permission for 9.9.9.9: {error}, expected success"


def garbage(place):
    """Nothing that is no request is answered, and the server lives on."""
    request = stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT)
    with place.udp(place.flooder) as client:
        client.settimeout(0.05)
        for data in (b"", b"\0", request[:19], request[:-1], b"\xff" * 1400, os.urandom(100), b"\x40\x00\x00\x04abcd",
                     bytes([0xC0]) + request[1:], request[:4] + b"\0\0\0\0" + request[8:],
                     stun.build(0x013 | stun.ALLOCATE), stun.build(0x0101), stun.build(0x0111)):
            client.send(data)
            try:
                answer = client.recv(2048)
            except TimeoutError:
                continue
            raise AssertionError(f"{data[:24].hex()}... is answered with {answer[:24].hex()}...")
    binding(place, 3478)


def ask_many(client, request, count, patience):
    """Sends requests in bursts and returns how many were answered."""
    answered = 0
    client.settimeout(patience)
    for _ in range(count // BURST):
        for _ in range(BURST):
            client.send(request)
        with contextlib.suppress(TimeoutError):
            for _ in range(BURST):
                client.recv(2048)
                answered += 1
    return answered


def flood(place):
    """Challenges for one source are limited, but a page's burst passes, and others do not notice."""
    request = stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT)
    with place.udp(place.flooder) as client:
        first = ask_many(client, request, BURST, 1)
        assert first == BURST, f"of a burst of {BURST} requests only {first} are answered"
        # What is saved up for bursts is used up now; then the limit shows.
        ask_many(client, request, 100 * BURST, 0.005)
        begin = time.monotonic()
        answered = ask_many(client, request, 50 * BURST, 0.005)
        rate, asked = answered / (time.monotonic() - begin), 50 * BURST
        assert answered < asked / 2, f"{answered} of {asked} requests are answered, {rate:.0f} in a second"
    small_challenge(place)


def tests(place):
    yield "Binding over UDP", binding, place, 3478
    yield "Binding over TCP", binding, place, 3478, False
    yield "Binding over TLS", binding, place, 5349, True
    yield "requests split and run together over TCP", split_and_pipelined, place
    yield "requests of who closes its half of a connection", half_closed, place
    yield "Allocate without credentials: a small 401", small_challenge, place
    yield "Allocate with a wrong password: 401", wrong_password, place
    yield "the address gate is closed by default", gate, place
    yield "what is no request is not answered", garbage, place
    yield "a flood of requests without credentials is limited", flood, place
