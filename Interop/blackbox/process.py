"""How the process starts, stops, reloads and survives."""

import ctypes
import errno
import functools
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import time

from support import server, sockets, stun, websocket
from support.results import eventually

from . import turn
from .place import COMMON, sentence
# Numbers of io_uring_setup and io_uring_enter, the same on every machine.
SETUP, ENTER = 425, 426


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def makes_and_reuses_state(place):
    floe = place.floe()
    with floe:
        assert mode(floe.state) == 0o700, f"the state directory has mode {mode(floe.state):o}, expected 700"
        for name in ("floe-key.pem", "turn-secret", "floe.sqlite"):
            found = mode(os.path.join(floe.state, name))
            assert found == 0o600, f"{name} has mode {found:o}, expected 600"
        assert mode(os.path.join(floe.state, "floe-certificate.pem")) & 0o022 == 0, "others may write the certificate"
        first = place.fingerprint()
        assert place.fingerprint(5349) == first, "TURN over TLS shows another certificate than HTTPS"
        with open(os.path.join(floe.state, "turn-secret")) as file:
            secret = file.read()
        code, _ = floe.terminate()
        assert code == 0, f"SIGTERM ended the server with code {code}, expected 0"
        floe.start()
        assert place.fingerprint() == first, "the second start made a new certificate"
        with open(os.path.join(floe.state, "turn-secret")) as file:
            assert file.read() == secret, "the second start made a new secret"


def refuses(place, expected, *options):
    """A start that cannot succeed: one sentence that has the expected words, and code 2."""
    done = place.run_floe("serve", "--state", os.path.join(place.fresh(), "state"), *COMMON, *options)
    assert done.returncode == 2, f"code {done.returncode}, expected 2: {done.stderr!r}"
    line = sentence(done.stderr)
    assert expected.lower() in line.lower(), f"{expected!r} is not in the complaint: {line}"


def port_in_use(place, number, datagram=False):
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    with sockets.make(place.there, kind) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 if datagram else 1)
        holder.bind((server.ADDRESS, number))
        if not datagram:
            holder.listen()
        refuses(place, str(number))


def second_server(place):
    """Sockets that may share a port must not make two servers share it unnoticed."""
    with place.floe():
        refuses(place, "in use")


def unusable_key(place):
    garbage = os.path.join(place.directory, "garbage.pem")
    with open(garbage, "w") as file:
        file.write("this is no key\n")
    refuses(place, garbage, "--cert", garbage, "--key", garbage)
    missing = os.path.join(place.directory, "missing.pem")
    refuses(place, missing, "--cert", missing, "--key", missing)


def state_is_a_file(place):
    path = os.path.join(place.directory, "file")
    with open(path, "w"):
        pass
    done = place.run_floe("serve", "--state", path, *COMMON)
    assert done.returncode == 2 and path in sentence(done.stderr), f"code {done.returncode}: {done.stderr!r}"


def ends_on_sigterm(place):
    with place.floe() as floe:
        clients = [place.join("ending", name)[0] for name in ("one", "two")]
        floe.process.terminate()
        for client in clients:
            assert (code := client.close_code()) == 1001, f"the WebSocket was closed with {code}, expected 1001"
            client.drop()
        assert (code := floe.process.wait(15)) == 0, f"the process ended with code {code}, expected 0"


def ends_at_once_when_asked_twice(place):
    with place.floe() as floe:
        mute, _ = place.join("mute")
        floe.process.terminate()
        time.sleep(0.2)
        begun = time.monotonic()
        floe.process.terminate()
        assert (code := floe.process.wait(15)) == 1, f"the process ended with code {code}, expected 1"
        assert time.monotonic() - begun < 1, "the second signal did not end it at once"
        mute.drop()


def shared_state(place):
    with place.floe() as floe:
        done = place.run_floe("serve", "--state", floe.state, *COMMON)
        assert done.returncode == 2 and "another server" in sentence(done.stderr), f"{done.returncode}: {done.stderr!r}"


def reloads_certificate(place):
    # Two other servers make the certificates, and that is all that is wanted of them.
    makers = [place.floe(), place.floe()]
    for maker in makers:
        with maker:
            pass
    own = place.fresh()
    os.makedirs(own)
    certificate, key = os.path.join(own, "certificate.pem"), os.path.join(own, "key.pem")

    def install(maker):
        shutil.copy(os.path.join(maker.state, "floe-certificate.pem"), certificate)
        shutil.copy(os.path.join(maker.state, "floe-key.pem"), key)

    install(makers[0])
    floe = place.floe("--cert", certificate, "--key", key, directory=own)
    with floe:
        before = place.fingerprint()
        client, _ = place.join("reload")
        install(makers[1])
        floe.hang_up()
        eventually("HTTPS shows the new certificate", lambda: place.fingerprint() != before, 10)
        eventually("TURN over TLS shows the new certificate", lambda: place.fingerprint(5349) != before, 10)
        answers_ping(client)
        # A reload that fails keeps what works.
        now = place.fingerprint()
        with open(key, "w") as file:
            file.write("this is no key\n")
        size = os.path.getsize(floe.log)
        floe.hang_up()
        eventually("the log tells of the failed reload", lambda: os.path.getsize(floe.log) > size, 10)
        answers_ping(client)
        assert floe.healthy() and place.fingerprint() == now, "a failed reload changed the certificate"
        client.drop()


def answers_ping(client):
    client.send(type="ping", id=7)
    assert client.receive("pong")["id"] == 7


def survives_sigkill(place):
    floe = place.floe()
    with floe:
        client, _ = place.join("killed")
        before = place.fingerprint()
        floe.kill()
        code = client.close_code()
        client.drop()
        assert code == websocket.Closed().code, f"a killed server said {code}"
        floe.start()
        assert place.fingerprint() == before


def forbid(number):
    """In a new process: from now on a system call is not permitted, as in containers."""
    load, equal, answer, refuse, allow = 0x20, 0x15, 0x06, 0x00050000 | errno.EPERM, 0x7FFF0000
    program = ((load, 0, 0, 0), (equal, 0, 1, number), (answer, 0, 0, refuse), (answer, 0, 0, allow))
    lines = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filters = struct.pack("@HP", len(program), ctypes.addressof(lines))
    if ctypes.CDLL(None, use_errno=True).prctl(22, 2, filters, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def back_end(place, kind, *options):
    with place.floe(*options) as floe:
        assert f'floe_turn_threads{{io="{kind}"}}' in floe.metrics(), f"the metrics do not tell of {kind}"
        turn.binding(place, 3478)


def falls_back(place, number):
    floe = place.floe("--io", "auto")
    floe.before = functools.partial(forbid, number)
    with floe:
        assert 'floe_turn_threads{io="epoll"}' in floe.metrics(), "the metrics do not tell of epoll"
        log = floe.log_tail(10_000)
        assert "not permitted" in log and "kernel.io_uring_disabled" in log, f"the log does not say why: {log}"
        turn.binding(place, 3478)


def insists(place):
    done = place.run_floe("serve", "--state", os.path.join(place.fresh(), "state"), *COMMON, "--io", "io_uring",
                          before=functools.partial(forbid, SETUP))
    assert done.returncode == 2 and "--io" in sentence(done.stderr), f"{done.returncode}: {done.stderr!r}"


def lacks(place, name):
    # CAP_SYS_ADMIN stands for two of them.
    without = f"-{name},-sys_admin"
    done = place.run_floe("serve", "--state", os.path.join(place.fresh(), "state"), *COMMON, "--io", "sk_lookup",
                          under=("setpriv", "--bounding-set", without))
    line = sentence(done.stderr)
    assert done.returncode == 2 and "'--io sk_lookup'" in line, f"{done.returncode}: {done.stderr!r}"
    assert f"CAP_{name.upper()}" in line, line


def reserve(place, ports):
    subprocess.run(["ip", "netns", "exec", place.there, "sysctl", "-qw", f"net.ipv4.ip_local_reserved_ports={ports}"],
                   check=True)


def warns_of_ports(place):
    options = ("--io", "sk_lookup", "--relay-ports", "50000-51000")
    with place.floe(*options) as floe:
        assert "ip_local_reserved_ports=50000-51000" in floe.log_tail(10_000), floe.log_tail()
    reserve(place, "40000,50000-52000")
    try:
        with place.floe(*options) as floe:
            assert "reserved_ports" not in floe.log_tail(10_000), floe.log_tail()
    finally:
        reserve(place, "")


def prints_credentials(place):
    with place.floe() as floe:
        done = place.run_floe("credentials", "--state", floe.state, "--user", "bob", "--ttl", "600",
                              "--host", server.ADDRESS)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        entries = answer["iceServers"] if isinstance(answer, dict) else answer
        entry = next(entry for entry in entries if "username" in entry)
        assert "bob" in entry["username"] and any(server.ADDRESS in url for url in entry["urls"]), entry
        with place.udp() as made:
            allocated = stun.Allocation(made, entry["username"], entry["credential"]).answer
        assert allocated.outcome == stun.SUCCESS, f"its credentials are refused with {allocated.error}"


def tests(place):
    yield "first start makes the state, the second uses it", makes_and_reuses_state, place
    for number in (3478, 5349, 8443):
        yield f"TCP port {number} is in use: one sentence, code 2", port_in_use, place, number
    yield "UDP port 3478 is in use: one sentence, code 2", port_in_use, place, 3478, True
    yield "a second server on the same ports: one sentence, code 2", second_server, place
    yield "certificate or key unusable: one sentence, code 2", unusable_key, place
    yield "the state directory is a file: one sentence, code 2", state_is_a_file, place
    for expected, *options in (("--nonsense", "--nonsense"), ("99999", "--turn-port", "99999"),
                               ("10.0.0.0/99", "--allow-peer", "10.0.0.0/99"), ("nobody", "--user", "nobody"),
                               ("--realm", "--realm"), ("9-5", "--relay-ports", "9-5")):
        yield f"{' '.join(options)}: one sentence, code 2", refuses, place, expected, *options
    yield "SIGTERM: WebSockets get 1001, code 0", ends_on_sigterm, place
    yield "SIGTERM twice: the end at once, code 1", ends_at_once_when_asked_twice, place
    yield "a second server on the same state: one sentence, code 2", shared_state, place
    yield "SIGHUP: new certificate, WebSockets stay; a bad one changes nothing", reloads_certificate, place
    for kind in ("epoll", "io_uring", "sk_lookup"):
        yield f"--io {kind}: the metrics say so, and it serves", back_end, place, kind, "--io", kind
    if not server.IO:
        yield "io_uring is what a server chooses by itself", back_end, place, "io_uring"
    for name, number in (("set up", SETUP), ("entered", ENTER)):
        yield f"io_uring may not be {name}: epoll, and the log says why", falls_back, place, number
    yield "io_uring is forbidden and insisted on: one sentence, code 2", insists, place
    for name in ("net_admin", "net_raw", "bpf"):
        yield f"sk_lookup without CAP_{name.upper()}: one sentence that names it, code 2", lacks, place, name
    yield "sk_lookup: a warning, unless the relay ports are reserved", warns_of_ports, place
    yield "SIGKILL: starts again on its state", survives_sigkill, place
    yield "floe credentials prints what an allocation accepts", prints_credentials, place
