"""STUN and TURN messages (RFC 8489, RFC 8656), as far as the tests speak them."""

import hashlib
import hmac
import os
import socket
import struct

COOKIE = 0x2112A442
BINDING, ALLOCATE, CREATE_PERMISSION = 0x001, 0x003, 0x008
SUCCESS, FAILURE = 0x0100, 0x0110
USERNAME, INTEGRITY, ERROR_CODE, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
PEER_ADDRESS, RELAYED_ADDRESS, REQUESTED_TRANSPORT, MAPPED_ADDRESS = 0x0012, 0x0016, 0x0019, 0x0020
UDP_TRANSPORT = (REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))


def build(method, *attributes, key=None, transaction=None):
    """A request. With `key`, MESSAGE-INTEGRITY (HMAC-SHA1) comes last."""
    transaction = transaction or os.urandom(12)
    body = b"".join(struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in attributes)
    if key is None:
        return struct.pack("!HHI", method, len(body), COOKIE) + transaction + body
    head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + transaction
    return head + body + struct.pack("!HH", INTEGRITY, 20) + hmac.digest(key, head + body, "sha1")


class Message:
    """A received message: `method`, `outcome` (`SUCCESS` or `FAILURE`), and the first attribute of each kind."""

    def __init__(self, data):
        kind, length, cookie = struct.unpack("!HHI", data[:8])
        assert cookie == COOKIE and len(data) == 20 + length, f"not one STUN message: {data.hex()}"
        self.outcome, self.method, self.transaction = kind & 0x0110, kind & ~0x0110, data[8:20]
        self.attributes, self.size = {}, len(data)
        offset = 20
        while offset < len(data):
            kind, length = struct.unpack("!HH", data[offset:offset + 4])
            self.attributes.setdefault(kind, data[offset + 4:offset + 4 + length])
            offset += 4 + length + -length % 4

    @property
    def error(self):
        value = self.attributes.get(ERROR_CODE)
        return value[2] * 100 + value[3] if value else None

    def address(self, kind=MAPPED_ADDRESS):
        """The address and port of an XOR-ed address attribute."""
        value = self.attributes[kind]
        pad = struct.pack("!I", COOKIE) + self.transaction
        family = socket.AF_INET if value[1] == 1 else socket.AF_INET6
        plain = bytes(one ^ other for one, other in zip(value[4:], pad))
        return socket.inet_ntop(family, plain), struct.unpack("!H", value[2:4])[0] ^ (COOKIE >> 16)


def xor_address(address, port, transaction=b""):
    """The value of an XOR-ed address attribute; an IPv6 one needs the message's transaction identifier."""
    is_ipv6 = ":" in address
    plain = socket.inet_pton(socket.AF_INET6 if is_ipv6 else socket.AF_INET, address)
    pad = struct.pack("!I", COOKIE) + transaction
    return struct.pack("!BBH", 0, 2 if is_ipv6 else 1, port ^ (COOKIE >> 16)) + bytes(
        one ^ other for one, other in zip(plain, pad, strict=False))


def long_term_key(user, realm, password):
    """RFC 8489 §9.2.2, with MD5: what a server has to take from a client that names no other algorithm."""
    return hashlib.md5(f"{user}:{realm}:{password}".encode()).digest()


def ask(client, message):
    """Sends a request over a connected socket, datagram or stream, and returns the answer."""
    client.sendall(message)
    if client.type == socket.SOCK_DGRAM:
        return Message(client.recv(2048))
    data = b""
    while len(data) < 20 or len(data) < 20 + struct.unpack("!H", data[2:4])[0]:
        chunk = client.recv(2048)
        assert chunk, f"closed after {len(data)} bytes"
        data += chunk
    return Message(data)


class Allocation:
    """An allocation by long-term credentials, over a connected socket, with more attributes in its request or without."""

    def __init__(self, client, user, password, *wishes):
        challenge = ask(client, build(ALLOCATE, UDP_TRANSPORT))
        assert challenge.error == 401, f"expected 401, got {challenge.error}"
        realm, nonce = challenge.attributes[REALM], challenge.attributes[NONCE]
        self.client = client
        self.key = long_term_key(user, realm.decode(), password)
        self.credentials = [(USERNAME, user.encode()), (REALM, realm), (NONCE, nonce)]
        self.answer = self.request(ALLOCATE, UDP_TRANSPORT, *wishes)

    def request(self, method, *attributes, transaction=None):
        return ask(self.client, build(method, *attributes, *self.credentials, key=self.key, transaction=transaction))

    def permit(self, address):
        """CreatePermission for an address; returns the error code, or None if it was granted."""
        return self.request(CREATE_PERMISSION, (PEER_ADDRESS, xor_address(address, 0))).error
