#!/usr/bin/env python3
"""The kernel's fast path (`floe serve --fast-path`) against user space: the same packets, and what comes out of either."""

import base64
import collections
import json
import os
import signal
import struct
import time

from blackbox import place, reload
from fastpath.scene import LIFETIME, PEER, PEER6, REFRESH, Scene, attached, scene
from lab import Lab, require_root_and_tools, run
from support import results, server, stun, tokens
from support.results import eventually

COUNT, SEEDS = 1600, (20240901, 7)
MOBILITY_TICKET, ACCESS_TOKEN = 0x8030, 0x001B
CREATE_PERMISSION = 0x008
ON = ("--fast-path", "eth0")
RELAYED, BY_KERNEL, FLOWS = "floe_turn_relayed_packets_total", "floe_turn_fast_path_packets_total", "floe_turn_fast_path_flows"
RELAYED_BYTES = "floe_turn_relayed_bytes_total"


def sample(packets):
    return [f"{packet.hex()} ({count})" for packet, count in list(packets.items())[:2]]


def compare(here, peer, is_ipv6, seed):
    """Random and hostile packets: byte by byte the same comes out, and the same is counted."""
    with scene(here, peer, is_ipv6=is_ipv6) as slow:
        wanted = slow.play(seed, COUNT)
        counts = slow.settled(RELAYED, RELAYED_BYTES)
        assert attached(here.there) == 0 and slow.count("floe_turn_fast_path") == 0
    assert len(wanted[0]) > COUNT / 5 and len(wanted[1]) > COUNT / 5, [len(part) for part in wanted]
    with scene(here, peer, *ON, is_ipv6=is_ipv6) as fast:
        assert fast.count("floe_turn_fast_path") == 1
        found = fast.play(seed, COUNT)
        for who, one, other in zip(("client", "peer", "stranger"), wanted, found):
            missing, excess = (collections.Counter(a) - collections.Counter(b) for a, b in ((one, other), (other, one)))
            assert not missing and not excess, (
                f"the {who}: {missing.total()} missing, such as {sample(missing)}, "
                f"{excess.total()} too many, such as {sample(excess)}")
        fast_counts = fast.settled(RELAYED, RELAYED_BYTES)
        assert fast_counts == counts, f"{fast_counts} packets and bytes are counted, {counts} without the fast path"
        by_kernel = fast.count(BY_KERNEL)
    assert by_kernel > len(wanted[0]) / 4, f"the kernel has relayed {by_kernel} of {counts[0]} only"


def ends(here, peer, is_ipv6):
    """The kernel relays while the channel is there, and nothing more once the allocation is deleted."""
    with scene(here, peer, *ON, is_ipv6=is_ipv6) as fast:
        assert attached(here.there) == 1
        assert fast.counted(FLOWS, 2) == 2
        fast.send_frame(b"data")
        assert fast.sink.recv(100) == b"data"
        fast.send_peer_frame(b"more")
        assert fast.socket.recv(100) == fast.framed(b"more")
        assert fast.counted(BY_KERNEL, 2) == 2
        deleted = fast.allocation.request(REFRESH, (LIFETIME, bytes(4)))
        assert deleted.outcome == stun.SUCCESS
        fast.send_frame(b"data")
        fast.send_peer_frame(b"more")
        fast.nothing_comes(fast.sink, "still relayed")
        fast.nothing_comes(fast.socket, "still relayed")
        eventually("no flow is left", lambda: fast.count(FLOWS) == 0, 5)


class TokenAllocation(stun.Allocation):
    """An allocation by an access token (RFC 7635), which ends with the token."""

    def __init__(self, client, token):
        challenge = stun.ask(client, stun.build(stun.ALLOCATE, stun.UDP_TRANSPORT))
        assert challenge.error == 401, challenge.error
        self.client, self.key = client, base64.b64decode(token["key"])
        self.credentials = [(stun.USERNAME, token["kid"].encode()),
                            *((kind, challenge.attributes[kind]) for kind in (stun.REALM, stun.NONCE)),
                            (ACCESS_TOKEN, base64.b64decode(token["access_token"]))]
        self.answer = self.request(stun.ALLOCATE, stun.UDP_TRANSPORT)


def expires(here, peer):
    """The kernel stops at the end of the allocation although user space does nothing any more."""
    directory = here.fresh()
    os.makedirs(directory)
    keys = tokens.key_file(directory)

    def allocate(client):
        done = here.run_floe("token", "mint", "--key-file", keys, "--kid", "north", "--server-name", tokens.NAME, "--ttl", "4")
        assert done.returncode == 0, done.stderr
        return TokenAllocation(client, json.loads(done.stdout))

    user = ("--oauth-key-file", keys, "--oauth-server-name", tokens.NAME)
    with scene(here, peer, *ON, allocate=allocate, user=user) as fast:
        lifetime, = struct.unpack("!I", fast.allocation.answer.attributes[LIFETIME])
        assert 1 <= lifetime <= 4, lifetime
        deadline = time.monotonic() + lifetime
        fast.floe.process.send_signal(signal.SIGSTOP)
        try:
            relayed = 0
            while time.monotonic() < deadline + 0.2:
                fast.send_frame(b"data")
                fast.sink.settimeout(0.1)
                try:
                    assert fast.sink.recv(100) == b"data"
                    relayed += 1
                    assert time.monotonic() < deadline + 0.1, "relayed after the end"
                except TimeoutError:
                    assert time.monotonic() > deadline - 1.2, "not relayed before the end"
                time.sleep(0.05)
            assert relayed >= 3, f"the kernel alone has relayed {relayed} packets"
            fast.send_frame(b"late")
            fast.send_peer_frame(b"late")
            fast.nothing_comes(fast.sink, "relayed after the end")
            fast.nothing_comes(fast.socket, "relayed after the end")
        finally:
            fast.floe.process.send_signal(signal.SIGCONT)
        fast.nothing_comes(fast.sink, "what came late was relayed later")


def moves(here, peer):
    """After a move (RFC 8016) the old 5-tuple is worth nothing, and the kernel relays for the new one."""
    def allocate(client):
        return stun.Allocation(client, "alice", "wonderland", (MOBILITY_TICKET, b""))

    with scene(here, peer, *ON, "--mobility", allocate=allocate) as fast:
        fast.send_frame(b"home")
        assert fast.sink.recv(100) == b"home"
        moved = Scene.bound(here.client, fast.socket.family, (place.CLIENT, Scene.CLIENT_PORT + 1))
        moved.connect((fast.address, Scene.SERVER_PORT))
        fast.allocation.client = moved
        ticket = fast.allocation.answer.attributes[MOBILITY_TICKET]
        stale = fast.allocation.request(REFRESH, (MOBILITY_TICKET, ticket))
        assert stale.error == 438, "a nonce belongs to an address"
        fast.allocation.credentials[-1] = (stun.NONCE, stale.attributes[stun.NONCE])
        answer = fast.allocation.request(REFRESH, (MOBILITY_TICKET, ticket))
        assert answer.outcome == stun.SUCCESS, answer.error
        before = fast.counted(BY_KERNEL, 1)
        fast.send_frame(b"still")
        assert fast.sink.recv(100) == b"still", "the old 5-tuple is good until the new one is heard"

        def send_new(data):
            frame = fast.client.datagram(Scene.CLIENT_PORT + 1, Scene.SERVER_PORT, fast.framed(data))
            fast.client.send(fast.client.packet(frame))
            assert fast.sink.recv(100) == data

        # User space hears the first, which makes the move; the kernel relays the second.
        send_new(b"first")
        send_new(b"second")
        fast.send_frame(b"old")
        fast.nothing_comes(fast.sink, "the old 5-tuple is relayed")
        fast.send_peer_frame(b"back")
        assert moved.recv(100) == fast.framed(b"back")
        fast.nothing_comes(fast.socket, "the old 5-tuple is sent to")
        assert fast.counted(BY_KERNEL, before + 3) == before + 3
        moved.close()


def many(here, peer):
    """256 channels with one peer: all are relayed by the kernel, also after their permission was prolonged again and again."""
    with scene(here, peer, *ON) as fast:
        for index in range(255):
            fast.bind(0x4001 + index, 41000 + index)
        assert fast.counted(FLOWS, 512) == 512
        before = fast.count(BY_KERNEL)
        for _ in range(200):
            transaction = os.urandom(12)
            address = stun.xor_address(*fast.sink.getsockname()[:2], transaction)
            answer = fast.allocation.request(CREATE_PERMISSION, (stun.PEER_ADDRESS, address), transaction=transaction)
            assert answer.outcome == stun.SUCCESS, answer.error
            fast.send_frame(b"data")
            assert fast.sink.recv(100) == b"data"
            fast.send_peer_frame(b"more")
            assert fast.socket.recv(100) == fast.framed(b"more")
        assert fast.counted(BY_KERNEL, before + 400) == before + 400
        assert fast.count(FLOWS) == 512
        assert fast.count("floe_turn_fast_path_refusals_total") == 0


def reloads(here, peer):
    """A reload that denies the peer ends the kernel's relaying; one that does not, leaves it."""
    files = reload.Files(here)
    files.write("users", "alice:wonderland")
    files.write("secrets", reload.SECRETS[0])
    files.write("keys", "0123456789abcdef")
    files.options("allow-peer 203.0.113.0/24", "fast-path eth0", "user-quota 20")
    user = ("--config", files.path("options"))
    with scene(here, peer, user=user) as fast:
        files.options("fast-path eth0", "user-quota 21")
        reload.reloaded(fast.floe, "The configuration was read again.")
        fast.send_frame(b"data")
        assert fast.sink.recv(100) == b"data"
        before = fast.counted(BY_KERNEL, 1)
        files.options("fast-path eth0", f"deny-peer {PEER}/32")
        reload.reloaded(fast.floe, "The configuration was read again.")
        fast.send_frame(b"data")
        fast.send_peer_frame(b"data")
        fast.nothing_comes(fast.sink, "relayed to a denied peer")
        fast.nothing_comes(fast.socket, "relayed from a denied peer")
        eventually("no flow is left", lambda: fast.count(FLOWS) == 0, 5)
        assert fast.count(BY_KERNEL) == before


def limited(here, peer, option):
    """A limit on bandwidth holds for the kernel and user space together."""
    rate = 100_000
    with scene(here, peer, *ON, option, str(rate * 8 // 1000)) as fast:
        fast.sink.settimeout(0.2)
        begun, sent, relayed = time.monotonic(), 0, 0
        while time.monotonic() < begun + 2.5:
            for _ in range(100):
                fast.send_frame(bytes(1000))
                sent += 1000
            try:
                while True:
                    relayed += len(fast.sink.recv(2000))
            except TimeoutError:
                pass
        most = rate * (1 + time.monotonic() - begun)
        assert relayed <= most, f"{relayed} bytes relayed, at most {most:.0f} may be"
        assert relayed > min(most, sent) / 3, f"{relayed} of {sent} bytes relayed only, {most:.0f} may be"
        assert fast.count(RELAYED_BYTES) <= most
        assert fast.counted(BY_KERNEL, 2) < relayed / 1000, "user space had no part in it"
        assert fast.count("floe_turn_drops_total") > 0, "nothing was over the limit"


def killed(here, peer):
    """Nothing is left at the interface after an end of any kind; a new start has the fast path again."""
    for end in ("kill", "terminate"):
        with scene(here, peer, "--fast-path", "auto") as fast:
            assert attached(here.there) == 1
            getattr(fast.floe, end)()
            eventually(f"after {end} no program is left", lambda: attached(here.there) == 0, 5)
            fast.send_frame(b"data")
            fast.nothing_comes(fast.sink, f"relayed after {end}")


def refused(here, _):
    """A fast path that was asked for by name and cannot be had is an error in one sentence; `auto` goes on without."""
    # A tunnel's packets have no Ethernet header: what a sender writes would stand where the program looks for addresses.
    run("ip", "-n", here.there, "tuntap", "add", "dev", "tunnel0", "mode", "tun")
    run("ip", "-n", here.there, "addr", "add", "192.0.2.77/32", "dev", "tunnel0")
    run("ip", "-n", here.there, "link", "set", "tunnel0", "up")
    for name in ("nowhere0", "lo", "tunnel0"):
        done = here.run_floe("serve", "--state", here.fresh(), *place.COMMON, "--fast-path", name)
        assert done.returncode != 0 and f"--fast-path {name}" in place.sentence(done.stderr), done.stderr
    run("ip", "-n", here.there, "link", "del", "tunnel0")
    without = ("setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin")
    done = here.run_floe("serve", "--state", here.fresh(), *place.COMMON, *ON, under=without)
    assert done.returncode != 0 and "CAP_BPF" in place.sentence(done.stderr), done.stderr
    floe = here.floe("--fast-path", "auto", under=without)
    with floe:
        assert "floe_turn_fast_path 0" in floe.metrics()
        with open(floe.log) as log:
            assert any("The fast path is off." in line and "CAP_BPF" in line for line in log), floe.log_tail()


def test(options):
    require_root_and_tools("setpriv")
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        here = place.Place(lab, binary, directory, is_dual=True)
        peer = lab.host("peer", f"{PEER}/24", f"{PEER6}/64")
        # Virtual wires would carry what user space sends in one call as one packet.
        lab.ip(here.there, "link set eth0 gso_max_segs 1")
        for is_ipv6, seed in zip((False, True), SEEDS):
            family = "IPv6" if is_ipv6 else "IPv4"
            outcome.run(f"the same traffic with and without the fast path, {family} (turn 147)", compare, here, peer, is_ipv6, seed)
            outcome.run(f"the end of an allocation, {family}", ends, here, peer, is_ipv6)
        for name, one in (("a deadline that passes while user space sleeps", expires), ("a move (turn 191, 192)", moves),
                          ("many channels", many), ("a reload (turn 206)", reloads), ("the end of the server", killed), ("what cannot be had", refused)):
            outcome.run(name, one, here, peer)
        for option in ("--allocation-kbps", "--user-kbps", "--total-kbps"):
            outcome.run(f"a limit on bandwidth: {option}", limited, here, peer, option)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
