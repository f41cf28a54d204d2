"""SIGHUP: what is read again, what stays, and what is refused."""

import json
import os
import socket

from support import server, sockets, stun, tokens
from support.results import eventually

REFRESH = 0x004
SEND, DATA_INDICATION, DATA, LIFETIME = 0x016, 0x017, 0x0013, 0x000D
SECRETS = ("a first secret of ours", "a second secret of ours")


class Files:
    """The configuration of one server, in files that a test changes."""

    def __init__(self, place):
        self.directory = place.fresh()
        os.makedirs(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, *lines):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return self.path(name)

    def options(self, *lines):
        self.write("options", *lines, f"user-file {self.path('users')}", f"secret-file {self.path('secrets')}",
                   f"api-key-file {self.path('keys')}")


def reloaded(floe, expected):
    """Sends SIGHUP and waits for the line in the log that says what came of it; returns that line."""
    start = os.path.getsize(floe.log)
    floe.hang_up()

    def line():
        with open(floe.log) as log:
            log.seek(start)
            return next((json.loads(line) for line in log if expected in line), None)

    return eventually(lambda: f"the log says {expected!r}: {floe.log_tail()}", line, timeout=10)


def minted(place, secret, user):
    done = place.run_floe("credentials", "--secret", secret, "--user", user, "--host", server.ADDRESS)
    assert done.returncode == 0, done.stderr
    entry = next(entry for entry in json.loads(done.stdout)["iceServers"] if "username" in entry)
    return entry["username"], entry["credential"]


def outcome(place, user, password):
    """None if the user gets an allocation, else the error."""
    with place.udp() as made:
        return stun.Allocation(made, user, password).answer.error


def echo(allocation, peer, relayed, payload):
    """Sends payload through the relay to a peer and back; an assertion if it does not come."""
    address = peer.getsockname()
    allocation.client.sendall(stun.build(SEND, (stun.PEER_ADDRESS, stun.xor_address(*address)), (DATA, payload)))
    received, source = peer.recvfrom(2048)
    assert received == payload and source == relayed, f"{received!r} from {source}, expected {payload!r}"
    peer.sendto(payload[::-1], source)
    answer = stun.Message(allocation.client.recv(2048))
    assert answer.method == DATA_INDICATION & ~0x0110 and answer.attributes[DATA] == payload[::-1], answer.method


def flow_survives(place):
    files = Files(place)
    files.write("users", "alice:wonderland")
    files.write("secrets", SECRETS[0])
    files.write("keys", "0123456789abcdef")
    files.options("user-quota 20", "allow-peer 203.0.113.0/24")
    with place.floe("--config", files.path("options"), directory=files.directory) as floe, place.udp() as made, \
            sockets.make(place.flooder, socket.SOCK_DGRAM, timeout=2.0) as peer:
        peer.bind(("203.0.113.41", 0))
        allocation = stun.Allocation(made, "alice", "wonderland")
        assert allocation.answer.outcome == stun.SUCCESS, allocation.answer.error
        relayed = allocation.answer.address(stun.RELAYED_ADDRESS)
        assert allocation.permit("203.0.113.41") is None
        client, _ = place.join("reload")
        old = minted(place, SECRETS[0], "first")
        echo(allocation, peer, relayed, b"before")
        assert outcome(place, *old) is None
        assert place.get("/turn?service=turn&key=0123456789abcdef").status == 200

        files.write("users", "bob:builder")
        files.write("secrets", SECRETS[1])
        files.write("keys", "fedcba9876543210")
        # A key of access tokens that was not there, a gate that closes.
        token_keys = tokens.key_file(files.directory)
        files.options("user-quota 1", "deny-peer 203.0.113.99/32", "allow-peer 203.0.113.0/24",
                      f"oauth-key-file {token_keys}", f"oauth-server-name {tokens.NAME}")
        reloaded(floe, "The configuration was read again.")

        echo(allocation, peer, relayed, b"after")
        refreshed = allocation.request(REFRESH, (LIFETIME, (600).to_bytes(4, "big")))
        assert refreshed.outcome == stun.SUCCESS, f"the old allocation is not refreshed: {refreshed.error}"
        eventually("the old user gets nothing new", lambda: outcome(place, "alice", "wonderland") == 401, timeout=5)
        assert outcome(place, *old) == 401, "credentials of the old secret are still taken"
        assert outcome(place, "bob", "builder") is None and outcome(place, *minted(place, SECRETS[1], "second")) is None
        assert allocation.permit("203.0.113.99") == 403, "the gate has not closed"
        assert place.get("/turn?service=turn&key=0123456789abcdef").status == 401
        assert place.get("/turn?service=turn&key=fedcba9876543210").status == 200
        with place.udp() as one, place.udp() as other:
            stun.Allocation(one, "bob", "builder")
            assert stun.Allocation(other, "bob", "builder").answer.error == 486, "the quota has not changed"
        takes_token(place, floe, token_keys)
        client.send(type="ping", id=7)
        assert client.receive("pong")["id"] == 7
        client.drop()


def takes_token(place, floe, keys):
    done = place.run_floe("token", "mint", "--key-file", keys, "--kid", "north", "--server-name", tokens.NAME)
    assert done.returncode == 0, done.stderr
    path = os.path.join(floe.directory, "token.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(done.stdout)
    done = place.run_floe("turn", f"turn:{server.ADDRESS}", "--token-file", path, "--count", "2")
    # The quota of 1 refuses the second allocation of one token: the first one shows that it is taken.
    assert "relayed address" in done.stdout, done.stdout + done.stderr


def bad_changes_nothing(place):
    files = Files(place)
    for name, line in (("users", "alice:wonderland"), ("secrets", SECRETS[0]), ("keys", "0123456789abcdef")):
        files.write(name, line)
    files.options("user-quota 20")
    with place.floe("--config", files.path("options"), directory=files.directory) as floe:
        def refused(expected):
            line = reloaded(floe, "The configuration stays as it was.")
            assert expected in line["error"], f"{expected!r} is not in {line['error']!r}"
            assert outcome(place, "alice", "wonderland") is None, "the old user is refused"

        files.write("users", "bob:builder", "nobody")
        refused("line 2, is not NAME:PASSWORD")
        files.write("users", "bob:builder")
        os.chmod(files.path("users"), 0o644)
        refused("chmod o=")
        os.chmod(files.path("users"), 0o600)
        files.options("user-quota many")
        refused("'many' is not right for '--user-quota'")
        files.options("turn-port 3999")
        refused("'--turn-port' has changed")
        files.options("oauth-key-file /nowhere")
        refused("There is no file '/nowhere'")
        os.rename(files.path("options"), files.path("gone"))
        refused("There is no file")
        assert floe.healthy()


def store_is_taken(place):
    """Users and keys that commands have put into the store are taken on SIGHUP."""
    with place.floe() as floe:
        words = ["--state", floe.state]
        done = place.run_floe("user", "add", "carol", "--realm", "floe.test", *words)
        assert done.returncode == 0, done.stderr
        password = done.stdout.strip()
        key = place.run_floe("key", "add", "shop", *words).stdout.strip()
        assert outcome(place, "carol", password) == 401 and place.get(f"/turn?service=turn&key={key}").status == 401
        reloaded(floe, "The configuration was read again.")
        eventually("the user is known", lambda: outcome(place, "carol", password) is None, timeout=5)
        assert place.get(f"/turn?service=turn&key={key}").status == 200
        assert place.run_floe("user", "list", *words).stdout == "carol\tfloe.test\n"
        assert place.run_floe("user", "remove", "carol", "--realm", "floe.test", *words).returncode == 0
        assert place.run_floe("key", "remove", "shop", *words).returncode == 0
        reloaded(floe, "The configuration was read again.")
        eventually("the user is gone", lambda: outcome(place, "carol", password) == 401, timeout=5)
        assert place.get(f"/turn?service=turn&key={key}").status == 401


def tests(place):
    yield "SIGHUP: users, secrets, keys, gate and quotas change, a relayed flow goes on (turn 206)", flow_survives, place
    yield "SIGHUP: a bad configuration is refused with a sentence, the old one stays", bad_changes_nothing, place
    yield "SIGHUP: what commands have put into the store is taken", store_is_taken, place
