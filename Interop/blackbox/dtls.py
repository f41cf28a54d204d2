"""DTLS on the UDP ports: OpenSSL's own client, and strangers who only begin (turn 196, 198, 211)."""

import contextlib
import os
import re
import struct
import subprocess

from support import server, stun
from support.results import eventually

from .place import CLIENT, FLOODER

FLOOD, MOST_GROWTH = 20_000, 4_000_000
HALF_OPEN = 100


def s_client(place, port, *options):
    """`openssl s_client` over DTLS 1.2, in the client's namespace, as a process."""
    command = ["ip", "netns", "exec", place.client, "openssl", "s_client", "-dtls1_2", "-connect",
               f"{server.ADDRESS}:{port}", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def handshake(place, port):
    """The handshake's outcome as OpenSSL tells it: version, suite with forward secrecy, application protocol."""
    with s_client(place, port, "-alpn", "stun.turn") as process:
        text = process.communicate(b"Q\n", timeout=10)[0].decode(errors="replace")
    assert "ALPN protocol: stun.turn" in text, f"no application protocol: {text[-600:]}"
    assert re.search(r"Protocol\s*: DTLSv1\.2", text), f"no DTLS 1.2: {text[-600:]}"
    assert re.search(r"Cipher is (ECDHE|DHE)-", text), f"no forward secrecy: {text[-600:]}"


def refused_protocol(place):
    """turn 198: no common application protocol is an alert."""
    with s_client(place, 5349, "-alpn", "h2") as process:
        text = process.communicate(b"Q\n", timeout=10)[0].decode(errors="replace")
    assert "alert no application protocol" in text, text[-600:]


def binding(place, port):
    """A Binding request within DTLS is answered with the client's address."""
    with s_client(place, port, "-quiet") as process:
        try:
            process.stdin.write(stun.build(stun.BINDING))
            process.stdin.flush()
            data = b""
            while b"\x01\x01" not in data or len(data) < data.index(b"\x01\x01") + 32:
                piece = os.read(process.stdout.fileno(), 4096)
                assert piece, f"the end instead of an answer: {data[-300:]!r}"
                data += piece
        finally:
            process.kill()
    answer = data[data.index(b"\x01\x01"):]
    message = stun.Message(answer[:20 + struct.unpack("!H", answer[2:4])[0]])
    assert message.address()[0] == CLIENT, f"the client is told {message.address()}"


def client_hello(cookie=b"", random=bytes(32)):
    """A ClientHello that OpenSSL would go on with."""
    extensions = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in (
        (10, bytes([0, 4, 0, 29, 0, 23])), (11, b"\x01\x00"), (13, bytes([0, 4, 4, 3, 8, 4])), (23, b"")))
    body = (b"\xfe\xfd" + random + b"\0" + bytes([len(cookie)]) + cookie + bytes([0, 4, 0xC0, 0x2B, 0xC0, 0x2F])
            + b"\x01\x00" + struct.pack("!H", len(extensions)) + extensions)
    sequence = 1 if cookie else 0
    fragment = struct.pack("!B", 1) + struct.pack("!I", len(body))[1:] + struct.pack("!H", sequence) + bytes(3)
    fragment += struct.pack("!I", len(body))[1:] + body
    return b"\x16\xfe\xff" + struct.pack("!HHI", 0, 0, sequence) + struct.pack("!H", len(fragment)) + fragment


def metric(floe, name):
    return int(re.search(rf"^{re.escape(name)} (\d+)", floe.metrics(), re.M)[1])


def resident_bytes(floe):
    with open(f"/proc/{floe.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unproven_flood(place, floe):
    """A flood of ClientHellos without cookies makes no state; each answer is shorter than its question."""
    associations = metric(floe, "floe_turn_dtls_associations")
    with place.udp(place.flooder, port=5349) as flooder:
        flooder.setblocking(False)

        def round_of(count):
            for number in range(count):
                with contextlib.suppress(BlockingIOError):
                    flooder.send(client_hello(random=struct.pack("!I", number) + bytes(28)))
                    while len(answer := flooder.recv(2048)) > 0:
                        assert len(answer) < len(client_hello()), f"{len(answer)} bytes for {len(client_hello())}"
        round_of(2000)
        before = resident_bytes(floe)
        round_of(FLOOD)
        growth = resident_bytes(floe) - before
    eventually("the flood was looked at", lambda: metric(floe, "floe_turn_dtls_cookies_total") > FLOOD // 2, timeout=10)
    assert metric(floe, "floe_turn_dtls_handshakes") == 0, "the flood has begun handshakes"
    assert metric(floe, "floe_turn_dtls_associations") <= associations, "the flood has made associations"
    assert growth < MOST_GROWTH, f"the process grew by {growth} bytes"
    binding(place, 5349)


def half_open_flood(place, floe):
    """Handshakes that are begun with a good cookie and not finished are bounded for an address (turn 211)."""
    with contextlib.ExitStack() as stack:
        for number in range(HALF_OPEN):
            one = stack.enter_context(place.udp(place.flooder, port=5349))
            random = struct.pack("!I", number) + bytes(28)
            one.send(client_hello(random=random))
            answer = one.recv(2048)
            assert answer[13] == 3, f"no HelloVerifyRequest: {answer.hex()}"
            one.send(client_hello(answer[28:28 + answer[27]], random))
        refusals = 'floe_turn_driver_drops_total{reason="tooManyHandshakesOfPrefix"}'
        eventually("the limit is reached", lambda: metric(floe, refusals) > 0, timeout=10)
        open_now = metric(floe, "floe_turn_dtls_handshakes")
        threads = max(1, len(os.sched_getaffinity(0)))
        assert 0 < open_now <= 32 * threads, f"{open_now} handshakes of {FLOODER} are open"
        binding(place, 5349)
    eventually("they are given up", lambda: metric(floe, "floe_turn_dtls_handshakes") == 0, timeout=30)


def tests(place, floe):
    for port in (3478, 5349):
        yield f"DTLS on UDP {port}: openssl's handshake", handshake, place, port
        yield f"DTLS on UDP {port}: a Binding request", binding, place, port
    yield "DTLS: no common application protocol", refused_protocol, place
    yield "DTLS: a flood of ClientHellos without cookies", unproven_flood, place, floe
    yield "DTLS: handshakes that are not finished", half_open_flood, place, floe
