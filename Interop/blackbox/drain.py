"""Nothing is lost while the configuration is read again, and a server that is to end lets its allocations live."""

import contextlib
import json
import select
import signal
import socket
import struct
import time

from support import sockets, stun
from support.results import eventually

from .reload import Files, LIFETIME, REFRESH

CHANNEL_BIND, CHANNEL_NUMBER, CHANNEL = 0x009, 0x000C, 0x4000
PEER = "203.0.113.41"
COUNT, RELOADS = 4000, 8


@contextlib.contextmanager
def flow(place):
    """A client with an allocation, and a peer behind a channel of it: allocation, peer, relayed address."""
    with place.udp() as made, sockets.make(place.flooder, socket.SOCK_DGRAM, timeout=2.0) as peer:
        for one in (made, peer):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        peer.bind((PEER, 0))
        allocation = stun.Allocation(made, "alice", "wonderland")
        assert allocation.answer.outcome == stun.SUCCESS, allocation.answer.error
        bound = allocation.request(CHANNEL_BIND, (CHANNEL_NUMBER, struct.pack("!HH", CHANNEL, 0)),
                                   (stun.PEER_ADDRESS, stun.xor_address(*peer.getsockname())))
        assert bound.outcome == stun.SUCCESS, bound.error
        yield allocation, peer, allocation.answer.address(stun.RELAYED_ADDRESS)


def read(one, header, numbers):
    """Takes what has come to a socket that does not wait: numbers of four bytes behind `header`."""
    with contextlib.suppress(BlockingIOError):
        while True:
            data = one.recv(2048)
            assert data.startswith(header) and len(data) == len(header) + 4, data[:40]
            numbers.append(int.from_bytes(data[len(header):], "big"))


def reloads_lose_nothing(place):
    """A thousand datagrams a second each way, and SIGHUP in the midst of them."""
    files = Files(place)
    for name, line in (("users", "alice:wonderland"), ("secrets", "a first secret of ours"), ("keys", "0123456789abcdef")):
        files.write(name, line)
    files.options("allow-peer 203.0.113.0/24")
    header = struct.pack("!HH", CHANNEL, 4)
    with place.floe("--config", files.path("options"), "--threads", "2", directory=files.directory) as floe, \
            flow(place) as (allocation, peer, relayed):
        at_peer, at_client = [], []
        for one in (allocation.client, peer):
            one.settimeout(0)
        for number in range(COUNT):
            payload = number.to_bytes(4, "big")
            allocation.client.sendall(header + payload)
            peer.sendto(payload, relayed)
            if number % (COUNT // RELOADS) == COUNT // RELOADS // 2:
                files.write("users", "alice:wonderland" if number > COUNT - COUNT // RELOADS else "bob:builder")
                files.options(f"user-quota {10 + number}", f"deny-peer 203.0.113.{number % 200 + 50}/32",
                              "allow-peer 203.0.113.0/24")
                floe.hang_up()
            select.select([], [], [], 0.001)
            read(peer, b"", at_peer)
            read(allocation.client, header, at_client)

        def complete():
            read(peer, b"", at_peer)
            read(allocation.client, header, at_client)
            return len(at_peer) >= COUNT and len(at_client) >= COUNT

        eventually(lambda: f"all datagrams arrive: {COUNT - len(at_peer)} lost to the peer, "
                           f"{COUNT - len(at_client)} to the client", complete, timeout=5)
        assert at_peer == list(range(COUNT)) and at_client == list(range(COUNT)), "datagrams out of order or twice"

        def reloaded():
            with open(floe.log) as log:
                lines = [json.loads(line)["message"] for line in log if line.startswith("{")]
            return lines.count("The configuration was read again.") >= RELOADS

        eventually(lambda: f"all reloads are done: {floe.log_tail()}", reloaded, timeout=5)


def refused(place, user="alice", password="wonderland"):
    """What a new Allocate gets."""
    with place.udp() as made:
        return stun.Allocation(made, user, password).answer.error


def drains(place, *options, refusal=508):
    """SIGUSR1: no new allocation, the old one lives until its client lets it go, then the process ends."""
    with place.floe("--user", "alice:wonderland", "--allow-peer", "203.0.113.0/24", *options) as floe:
        with flow(place) as (allocation, peer, relayed):
            floe.process.send_signal(signal.SIGUSR1)
            # Not by trying: what is allocated before all shards have heard of it would live on.
            eventually("it drains", lambda: "floe_turn_draining 1\n" in floe.metrics(), timeout=5)
            assert refused(place) == refusal
            eventually("/healthz says so", lambda: place.get("/healthz").status == 503, timeout=5)
            assert place.get("/healthz").body == b"draining\n"
            assert "Draining: no new allocations." in floe.log_tail(4000), floe.log_tail()
            assert stun.ask(allocation.client, stun.build(stun.BINDING)).outcome == stun.SUCCESS
            assert allocation.permit(PEER) is None
            refreshed = allocation.request(REFRESH, (LIFETIME, (600).to_bytes(4, "big")))
            assert refreshed.outcome == stun.SUCCESS, refreshed.error
            header = struct.pack("!HH", CHANNEL, 4)
            for number in range(200):
                payload = number.to_bytes(4, "big")
                allocation.client.sendall(header + payload)
                assert peer.recv(2048) == payload
                peer.sendto(payload, relayed)
                assert allocation.client.recv(2048) == header + payload
            assert floe.process.poll() is None, "the process has ended before its last allocation"
            assert allocation.request(REFRESH, (LIFETIME, bytes(4))).outcome == stun.SUCCESS
        assert (code := floe.process.wait(10)) == 0, f"the process ended with code {code}, expected 0"
        assert "Drained: the last allocation has ended." in floe.log_tail(4000), floe.log_tail()


def drains_for_a_time(place):
    """SIGTERM with --drain-time: the end comes with the last allocation, or when the time is over."""
    with place.floe("--user", "alice:wonderland", "--drain-time", "3") as floe, place.udp() as made:
        assert stun.Allocation(made, "alice", "wonderland").answer.outcome == stun.SUCCESS
        code, seconds = floe.terminate()
        assert code == 0 and 2.5 < seconds < 9, f"code {code} after {seconds:.1f} s, expected 0 after 3 s"
        assert "The time to drain is over." in floe.log_tail(4000), floe.log_tail()
    with place.floe("--drain-time", "60") as floe:
        code, seconds = floe.terminate()
        assert code == 0 and seconds < 9, f"code {code} after {seconds:.1f} s without any allocation"


def second_signal_ends_it(place):
    with place.floe("--user", "alice:wonderland", "--drain-time", "60") as floe, place.udp() as made:
        assert stun.Allocation(made, "alice", "wonderland").answer.outcome == stun.SUCCESS
        floe.process.terminate()
        eventually("it drains", lambda: "floe_turn_draining 1\n" in floe.metrics(), timeout=5)
        assert refused(place) == 508
        begun = time.monotonic()
        floe.process.terminate()
        assert (code := floe.process.wait(15)) == 0, f"the process ended with code {code}, expected 0"
        assert time.monotonic() - begun < 9, "the second signal did not end the drain"


def tests(place):
    yield f"SIGHUP {RELOADS} times among {COUNT} datagrams each way: none is lost (turn 214)", reloads_lose_nothing, place
    yield "SIGUSR1: new allocations get 508, old ones live, then the process ends (turn 214)", drains, place
    alternate = lambda place: drains(place, "--alternate-server", "203.0.113.77:3478", refusal=300)
    yield "SIGUSR1 with an alternate server: new allocations get 300 (turn 214)", alternate, place
    yield "SIGTERM with --drain-time: the end after the time, or without allocations at once", drains_for_a_time, place
    yield "SIGTERM twice with --drain-time: the end, code 0", second_signal_ends_it, place
