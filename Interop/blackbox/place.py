"""Where the black-box tests happen: a server's namespace, a client's, and one for those who misbehave."""

import contextlib
import hashlib
import os
import socket
import subprocess

from support import server, sockets, stun, websocket

HOST = f"{server.ADDRESS}:8443"
CLIENT, FLOODER = "203.0.113.40", "203.0.113.41"
CLIENT6, FLOODER6 = "2001:db8::40", "2001:db8::41"
COMMON = ["--listen", server.ADDRESS, "--realm", "floe.test", "--advertise-tls", "always"]


class Place:
    def __init__(self, lab, binary, directory, is_dual=False):
        """With `is_dual`, all have IPv6 addresses as well."""
        self.binary, self.directory, self.count = binary, directory, 0

        def host(name, *addresses):
            return lab.host(name, *(f"{one}/64" if ":" in one else f"{one}/24" for one in addresses[:1 + is_dual]))

        self.there = host("server", server.ADDRESS, server.ADDRESS6)
        self.client = host("client", CLIENT, CLIENT6)
        self.flooder = host("flooder", FLOODER, FLOODER6)

    def fresh(self):
        """A directory that no server has used yet."""
        self.count += 1
        return os.path.join(self.directory, f"server{self.count}")

    def floe(self, *options, directory=None, under=()):
        """A server that is not started yet, on a state directory of its own unless one is given."""
        return server.FloeServer(self.binary, self.there, directory or self.fresh(), *COMMON, *options, under=under)

    def run_floe(self, *arguments, timeout=20, before=None, under=()):
        """Runs the binary to its end, under another command or none; `before` is called in the new process."""
        return subprocess.run(["ip", "netns", "exec", self.there, *under, self.binary, *arguments], text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=before)

    def get(self, path, **options):
        """An HTTPS request from the client's namespace."""
        return sockets.request(self.client, server.ADDRESS, 8443, path, tls=True, **options)

    def local(self, path, **options):
        """An HTTP request from the server's own machine."""
        return sockets.request(self.there, "127.0.0.1", 8080, path, **options)

    def raw(self, data, timeout=5.0):
        """Sends bytes to the HTTPS port and returns what comes until the server closes."""
        with sockets.connect(self.client, server.ADDRESS, 8443, tls=True, timeout=timeout) as stream:
            return sockets.exchange(stream, data)

    def fingerprint(self, port=8443):
        """The digest of the certificate that a TLS client sees."""
        with sockets.connect(self.client, server.ADDRESS, port, tls=True) as stream:
            return hashlib.sha256(stream.getpeercert(binary_form=True)).hexdigest()

    def websocket(self, **options):
        stream = sockets.connect(self.client, server.ADDRESS, 8443, tls=True, timeout=10)
        return websocket.WebSocket(stream, HOST, **options)

    def join(self, room, name="somebody"):
        """A WebSocket that has joined, and the server's answer."""
        client = self.websocket()
        client.send(type="join", version=1, room=room, name=name)
        return client, client.receive("joined", "error")

    def resume(self, session, ack=0):
        """A new WebSocket that takes up a session, and the server's answer."""
        client = self.websocket()
        client.send(type="resume", version=1, session=session, ack=ack)
        return client, client.receive("resumed", "error")

    def credentials(self):
        """A user name and password for TURN, as the signaling server hands them out."""
        client, joined = self.join("credentials")
        client.send(type="leave")
        client.drop()
        return next((entry["username"], entry["credential"]) for entry in joined["iceServers"] if "username" in entry)

    @contextlib.contextmanager
    def udp(self, namespace=None, port=3478):
        """A UDP socket that is connected to the server."""
        with sockets.make(namespace or self.client, socket.SOCK_DGRAM, timeout=2.0) as made:
            made.connect((server.ADDRESS, port))
            yield made

    @contextlib.contextmanager
    def allocation(self):
        user, password = self.credentials()
        with self.udp() as made:
            yield stun.Allocation(made, user, password)


def sentence(text):
    """Checks that a complaint is exactly one line that a person can read."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1 and len(lines[0].split()) >= 4, f"expected one sentence on stderr, got: {text!r}"
    return lines[0]
