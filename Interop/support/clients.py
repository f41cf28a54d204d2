"""Two clients of others, libnice and aioice, that read what the server sends.

libnice makes the requests too, so that it takes the responses for its own: identifier, method and MESSAGE-INTEGRITY.
"""

import ctypes
import struct

from aioice import stun as aioice
from lab import LabError

from . import stun

RFC5389 = 1
LONG_TERM, NO_INDICATION_AUTH = 1 << 1, 1 << 5
# What must be understood of RFC 8489, RFC 8656 and RFC 6062.
KNOWN = (0x01, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x20, 0x22, 0x2A)
VERDICTS = ("accepted", "not STUN", "incomplete", "a bad request", "unauthorized and a bad request", "unauthorized",
            "no response to the request", "a request with unknown attributes", "a message with unknown attributes")
# Room for libnice's structures, whose sizes are its own affair: 200 saved identifiers, and a message's fields.
AGENT_SIZE, MESSAGE_SIZE = 65_536, 1024


def load():
    try:
        library = ctypes.CDLL("libnice.so.10")
    except OSError:
        raise LabError("libnice is not installed: apt-get install libnice10") from None
    library.stun_agent_finish_message.restype = ctypes.c_size_t
    library.stun_agent_finish_message.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    library.stun_message_append_bytes.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    library.stun_agent_init_request.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                                ctypes.c_int]
    library.stun_agent_validate.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                            ctypes.c_void_p, ctypes.c_void_p]
    for name in ("stun_message_find_error", "stun_message_get_method"):
        getattr(library, name).argtypes = [ctypes.c_void_p] + [ctypes.c_void_p] * (name == "stun_message_find_error")
    library.stun_message_find32.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    library.stun_message_find_xor_addr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    return library


class Nice:
    """libnice's STUN agent, as its TURN client sets it up."""

    def __init__(self, password):
        self.library = load()
        self.known = (ctypes.c_uint16 * (len(KNOWN) + 1))(*KNOWN, 0)
        self.agent = ctypes.create_string_buffer(AGENT_SIZE)
        self.password, self.length = ctypes.create_string_buffer(password.encode()), len(password.encode())
        self.library.stun_agent_init(self.agent, self.known, RFC5389, LONG_TERM | NO_INDICATION_AUTH)

    def request(self, method, *attributes, authenticated):
        """A request of libnice's; with MESSAGE-INTEGRITY by USERNAME, REALM and the password if `authenticated`."""
        message, room = ctypes.create_string_buffer(MESSAGE_SIZE), ctypes.create_string_buffer(2048)
        assert self.library.stun_agent_init_request(self.agent, message, room, len(room), method)
        for kind, value in attributes:
            assert self.library.stun_message_append_bytes(message, kind, value, len(value)) == 0, f"0x{kind:04x}"
        words = (self.password, self.length) if authenticated else (None, 0)
        size = self.library.stun_agent_finish_message(self.agent, message, *words)
        assert size, "libnice does not finish the request"
        return room.raw[:size]

    def read(self, data):
        """Method, error code, lifetime and mapped address of a message as libnice understands it."""
        message, room = ctypes.create_string_buffer(MESSAGE_SIZE), ctypes.create_string_buffer(data, len(data))
        verdict = self.library.stun_agent_validate(self.agent, message, room, len(data), None, None)
        assert verdict == 0, f"to libnice it is {VERDICTS[verdict]}: {data.hex()}"
        code, lifetime = ctypes.c_int(), ctypes.c_uint32()
        address, length = ctypes.create_string_buffer(128), ctypes.c_int(128)
        has_code = self.library.stun_message_find_error(message, ctypes.byref(code)) == 0
        has_lifetime = self.library.stun_message_find32(message, 0x0D, ctypes.byref(lifetime)) == 0
        mapped = None
        if self.library.stun_message_find_xor_addr(message, stun.MAPPED_ADDRESS, address, ctypes.byref(length)) == 0:
            mapped = struct.unpack("!H", address.raw[2:4])[0]
        return (self.library.stun_message_get_method(message), code.value if has_code else None,
                lifetime.value if has_lifetime else None, mapped)


def aioice_reads(data, key):
    """The same as aioice understands it.

    It knows no method of RFC 6062: there its attributes are read under a method that it knows, without integrity.
    """
    method = struct.unpack("!H", data[:2])[0] & 0x000F
    if method > aioice.Method.CHANNEL_BIND:
        data, key = bytes([data[0], data[1] & 0xF0 | aioice.Method.REFRESH]) + data[2:], None
    attributes = aioice.parse_message(data, integrity_key=key).attributes
    mapped = attributes.get("XOR-MAPPED-ADDRESS")
    return (method, attributes.get("ERROR-CODE", (None,))[0], attributes.get("LIFETIME"), mapped and mapped[1])


class Client:
    """A user of the server on one connected socket, whose every message has to be understood by both clients."""

    def __init__(self, made, user, password):
        self.socket, self.user, self.password = made, user, password
        self.nice = Nice(password)
        self.key, self.credentials = None, []

    def receive(self):
        """The next message, read by both, which have to agree."""
        data = self.socket.recv(2048) if self.socket.type == stun.socket.SOCK_DGRAM else self._from_stream()
        theirs, others = self.nice.read(data), aioice_reads(data, self.key)
        assert theirs == others, f"libnice reads {theirs}, aioice {others}: {data.hex()}"
        return stun.Message(data)

    def _from_stream(self):
        data = b""
        while len(data) < 20 or len(data) < 20 + struct.unpack("!H", data[2:4])[0]:
            piece = self.socket.recv(20 - len(data) if len(data) < 20 else 20 + struct.unpack("!H", data[2:4])[0] - len(data))
            assert piece, f"closed after {len(data)} bytes"
            data += piece
        return data

    def ask(self, method, *attributes, expect=None):
        """A request, and its response with the expected error code (None: success)."""
        words = [*attributes, *self.credentials]
        self.socket.sendall(self.nice.request(method, *words, authenticated=bool(self.credentials)))
        answer = self.receive()
        assert answer.error == expect, f"expected {expect or 'success'}, got {answer.error or 'success'}"
        return answer

    def log_in(self, transport=stun.UDP_TRANSPORT):
        """Asks without credentials for a challenge, and takes it."""
        answer = self.ask(stun.ALLOCATE, transport, expect=401)
        realm, nonce = answer.attributes[stun.REALM], answer.attributes[stun.NONCE]
        self.key = stun.long_term_key(self.user, realm.decode(), self.password)
        self.credentials = [(stun.USERNAME, self.user.encode()), (stun.REALM, realm), (stun.NONCE, nonce)]
        return self
