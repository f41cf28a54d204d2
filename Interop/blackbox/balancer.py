"""Behind HAProxy, which passes TCP through and says for whom, by the PROXY protocol."""

import contextlib
import subprocess

from support import server, sockets, stun
from support.results import eventually

from .place import CLIENT, FLOODER

SENDING = ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id")
CONFIGURATION = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend everything
    bind {address}:443
    default_backend floe
backend floe
    server floe {server}:8443 {sending}
"""


@contextlib.contextmanager
def haproxy(place, sending):
    """HAProxy in front of the server, on an address of its own."""
    path = place.fresh() + ".cfg"
    with open(path, "w") as file:
        file.write(CONFIGURATION.format(address=FLOODER, server=server.ADDRESS, sending=sending))
    command = ["ip", "netns", "exec", place.flooder, "haproxy", "-db", "-f", path]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually("HAProxy listens", lambda: listens(place), 10)
        yield
    finally:
        process.terminate()
        process.wait()


def listens(place):
    try:
        sockets.connect(place.client, FLOODER, 443).close()
    except OSError:
        return False
    return True


def names_the_client(place, sending):
    with haproxy(place, sending):
        for alpn in (["stun.turn"], None):
            with sockets.connect(place.client, FLOODER, 443, tls=True, alpn=alpn) as stream:
                stream.sendall(stun.build(stun.BINDING))
                seen = stun.Message(stream.recv(1000)).address()
                assert seen == stream.getsockname(), f"the server sees {seen}, the client is {stream.getsockname()}"
                assert seen[0] == CLIENT
        with sockets.connect(place.client, FLOODER, 443, tls=True, alpn=["h2", "http/1.1"]) as stream:
            answer = sockets.exchange(stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:60]


def insists_on_the_header(place):
    with haproxy(place, ""):
        try:
            sockets.connect(place.client, FLOODER, 443, tls=True).close()
        except OSError:
            pass
        else:
            raise AssertionError("a balancer that says nothing is served")
    lines = place.local("/metrics").body.decode().splitlines()
    dropped = next(line for line in lines if line.startswith('floe_http_drops_total{reason="noProxyHeader"}'))
    assert int(dropped.split()[-1]) >= 1, dropped


def tests(place):
    for sending in SENDING:
        yield f"behind HAProxy ({sending}) the client's own address counts", names_the_client, place, sending
    yield "a balancer that sends no header is not served", insists_on_the_header, place
