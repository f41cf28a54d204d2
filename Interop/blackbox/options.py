"""Every option of `floe serve` with values that are wrong: one sentence that names it, and code 2."""

import os
import re
import socket

from support import server, sockets

from .place import sentence

# Short, so that each option can be tried that may be given once only.
COMMON = ["--listen", server.ADDRESS]

# An address that the server's namespace does not have.
ELSEWHERE = "203.0.113.77"
NUMBERS = {
    "turn-port": (1, 65535), "turns-port": (0, 65535), "dtls-port": (0, 65535), "https-port": (0, 65535),
    "http-port": (0, 65535), "nat-discovery-port": (1, 65535), "prefix-rate": (1, 100_000_000),
    "user-quota": (1, 1_000_000), "total-quota": (1, 1_000_000), "allocation-kbps": (1, 1_000_000_000),
    "user-kbps": (1, 1_000_000_000), "total-kbps": (1, 1_000_000_000), "threads": (1, 256),
    "drain-time": (0, 86_400),
}
# What a value must not be, and a word of the complaint that says what is due.
WRONG = {
    "listen": (("nonsense", "address"), ("300.0.0.1", "address"), (ELSEWHERE, "address of this machine")),
    "relay-ip": (("10.0.0.0/8", "address"), (ELSEWHERE, "not an address of this machine")),
    "external-ip": (("nonsense", "address"), ("198.51.100.7/::1", "one family"), (f"198.51.100.7/{ELSEWHERE}", "fits none")),
    "relay-ports": (("9-5", "FIRST-LAST"), ("80-90", "1024"), ("50000", "FIRST-LAST"), ("50000-70000", "FIRST-LAST")),
    "allow-peer": (("10.0.0.0/99", "range"), ("everybody", "range")),
    "deny-peer": (("10.0.0.0/99", "range"), ("fe80::/200", "range")),
    "proxy-protocol-from": (("10.0.0.0/33", "range"), ("balancer", "range")),
    "metrics-from": (("0.0.0.0/-1", "range"), ("prometheus", "range")),
    "nat-discovery": (("203.0.113.10", "FIRST/SECOND"), ("203.0.113.10/203.0.113.10", "FIRST/SECOND"),
                      ("203.0.113.10/::1", "one family"), (f"203.0.113.10/{ELSEWHERE}", "not an address of this machine")),
    "alternate-server": (("198.51.100.9", "ADDRESS:PORT"), ("198.51.100.9:0", "ADDRESS:PORT"),
                         ("other.example:3478", "ADDRESS:PORT")),
    "public-host": (("call example.org", "DNS name"), ("https://call.example.org", "DNS name"), ("a..b", "DNS name")),
    "realm": (('with"quote', "ASCII"), ("x" * 128, "127"), ("größe", "ASCII")),
    "advertise-tls": (("perhaps", "auto, always, never"),),
    "user": (("nobody", "NAME:PASSWORD"), (":password", "NAME:PASSWORD"), ("name:", "NAME:PASSWORD")),
    "secret": (("short", "16 characters"),),
    "api-key": (("short", "16 characters"),),
    "origin": (("example.org", "https://example.org"), ("https://", "https://example.org"),
               ("https://example.org/path", "https://example.org")),
    "io": (("iocp", "auto, epoll, io_uring, sk_lookup"),),
    "fast-path": (("nowhere0", "no Ethernet interface"), ("lo", "no Ethernet interface")),
    "log-level": (("loud", "debug, info, warning or error"),),
    "log-format": (("xml", "human, json"),),
    "log-addresses": (("none", "full, truncated, hidden"),),
}
SWITCHES = ("legacy-channels", "rfc3489", "tcp-relay", "mobility")
FILES = ("cert", "key", "user-file", "secret-file", "oauth-key-file", "api-key-file", "config")
# Options that are right alone and wrong together, or need another.
CONFLICTS = (
    (("--turns-port", "3478"), ("--turn-port", "--turns-port", "3478")),
    (("--http-port", "8443"), ("--https-port", "--http-port", "8443")),
    (("--turn-port", "50000"), ("--turn-port", "50000", "--relay-ports")),
    (("--dtls-port", "50000"), ("--dtls-port", "50000", "--relay-ports")),
    (("--relay-ports", "5000-6000"), ("--turns-port", "5349", "--relay-ports")),
    (("--cert", "/tmp/chain.pem"), ("--cert", "--key")),
    (("--key", "/tmp/key.pem"), ("--key", "--cert")),
    (("--fast-path", "auto", "--fast-path", "off"), ("--fast-path", "alone")),
    (("--user-quota", "5", "--user-quota", "6"), ("--user-quota", "twice")),
    (("--oauth-server-name", "turn.example.org"), ("--oauth-server-name", "--oauth-key-file")),
    (("--nat-discovery", f"{server.ADDRESS}/127.0.0.1"), ("--nat-discovery", "--listen 127.0.0.1")),
    (("--user", "alice:one", "--user", "alice:two"), ("alice", "twice")),
)


def complaint(place, *options):
    """What a start says that cannot succeed: one sentence, with code 2, and nothing on standard output."""
    done = place.run_floe("serve", "--state", os.path.join(place.fresh(), "state"), *COMMON, *options)
    assert done.returncode == 2, f"{options}: code {done.returncode}, expected 2: {done.stderr!r}"
    assert not done.stdout, f"{options}: standard output has {done.stdout!r}"
    line = sentence(done.stderr)
    assert line.startswith("floe: ") and line.endswith((".", "?")), f"{options}: no sentence: {line}"
    assert not re.search(r"Optional|Error\(|\berrno\b|\bnil\b", line), f"{options}: not for people: {line}"
    return line


def expect(place, options, *words):
    line = complaint(place, *options)
    for word in words:
        assert word in line, f"{options}: {word!r} is not in the complaint: {line}"


def numbers(place):
    for name, (least, greatest) in NUMBERS.items():
        for text in ("many", "", "1.5", str(least - 1), str(greatest + 1), "99999999999999999999"):
            expect(place, (f"--{name}={text}",), f"--{name}", *([str(greatest)] if text else ["needs a value"]))


def wrong_values(place, name):
    for text, due in WRONG[name]:
        expect(place, (f"--{name}", text), f"--{name}", due)


def wrong_files(place, name):
    directory = place.fresh()
    os.makedirs(directory)
    garbage = os.path.join(directory, "garbage")
    with open(os.open(garbage, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(b"\xff\x00 no such thing\n")
    missing = os.path.join(directory, "missing")
    for path in (missing, directory, garbage):
        options = {"cert": ("--cert", path, "--key", path), "key": ("--cert", path, "--key", path)}
        expect(place, options.get(name, (f"--{name}", path)), path)
    if name not in ("cert", "key"):
        os.chmod(garbage, 0o644)
        expect(place, (f"--{name}", garbage), garbage, "chmod")


def wrong_lines(place):
    """Each kind of file with one wrong line, whose number is told."""
    directory = place.fresh()
    os.makedirs(directory)
    for name, lines, words in (("user-file", "# users\nalice:one\nnobody\n", ("line 3", "NAME:PASSWORD")),
                               ("secret-file", "short\n", ("line 1", "16 characters")),
                               ("api-key-file", "\n\nshort\n", ("line 3", "16 characters")),
                               ("oauth-key-file", '{"kid": "north"}\n', ("k",)),
                               ("config", "user-quota 5\nuser-quotas 6\n", ("line 2", "user-quotas", "--user-quota")),
                               ("config", "mobility yes\n", ("line 1", "--mobility", "no value")),
                               ("config", "config other\n", ("line 1", "--config"))):
        path = os.path.join(directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(lines)
        expect(place, (f"--{name}", path), path, *words)


def state(place):
    directory = place.fresh()
    os.makedirs(directory)
    with open(os.path.join(directory, "letter"), "w"):
        pass
    for path in (directory, os.path.join(directory, "letter"), "/proc/floe", "/dev/null"):
        done = place.run_floe("serve", "--state", path, *COMMON)
        assert done.returncode == 2 and path in sentence(done.stderr) and "--state" in done.stderr, done.stderr


def ports_in_use(place):
    for name, number, kind in (("turn-port", 3478, socket.SOCK_DGRAM), ("dtls-port", 5349, socket.SOCK_DGRAM),
                               ("turn-port", 3478, socket.SOCK_STREAM), ("turns-port", 5349, socket.SOCK_STREAM),
                               ("https-port", 8443, socket.SOCK_STREAM), ("http-port", 8080, socket.SOCK_STREAM),
                               ("nat-discovery-port", 3479, socket.SOCK_DGRAM)):
        address = "127.0.0.1" if name == "http-port" else server.ADDRESS
        options = ("--listen", "127.0.0.1", "--nat-discovery", f"{server.ADDRESS}/127.0.0.1")
        with sockets.make(place.there, kind) as holder:
            # Connections of earlier tests may linger on the port.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
            holder.bind((address, number))
            if kind == socket.SOCK_STREAM:
                holder.listen()
            expect(place, options, f"--{name}", str(number), "in use")


def knows_all(place):
    """The table has a row for every option that the help names."""
    names = set(re.findall(r"^  --([a-z0-9-]+)", place.run_floe("serve", "--help").stdout, re.MULTILINE))
    rows = {*NUMBERS, *WRONG, *SWITCHES, *FILES, "state", "oauth-server-name"}
    assert names == rows, f"without a row: {names - rows}; gone: {rows - names}"


def tests(place):
    yield "wrong options: the table has all", knows_all, place
    yield "wrong options: numbers", numbers, place
    for name in WRONG:
        yield f"wrong options: --{name}", wrong_values, place, name
    for name in SWITCHES:
        yield f"wrong options: --{name} with a value", expect, place, (f"--{name}=yes",), f"--{name}", "no value"
    for name in FILES:
        yield f"wrong options: --{name}", wrong_files, place, name
    yield "wrong options: lines in files", wrong_lines, place
    yield "wrong options: --state", state, place
    yield "wrong options: ports in use", ports_in_use, place
    for options, words in CONFLICTS:
        yield f"wrong options: {' '.join(options)}", expect, place, options, *words
