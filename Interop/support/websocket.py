"""A WebSocket client (RFC 6455) that is just big enough for the tests, and can misbehave on purpose."""

import base64
import json
import os
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server answered the handshake with something else than 101; `status` is what it said."""

    def __init__(self, head):
        self.status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
        super().__init__(head.split(b"\r\n", 1)[0].decode(errors="replace") or "closed without an answer")


class Closed(Exception):
    """The connection has ended; `code` is the close code, 1006 if there was none."""

    def __init__(self, code=1006, reason=""):
        self.code, self.reason = code, reason
        super().__init__(f"closed with {code} {reason}")


class WebSocket:
    def __init__(self, stream, host, path="/signal", protocol="floe.v1", origin=None):
        self.stream, self.buffer = stream, b""
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        lines += [f"Origin: {origin}"] if origin else []
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        try:
            while b"\r\n\r\n" not in self.buffer:
                self._fill()
        except Closed:
            pass
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            stream.close()
            raise Refused(head)

    def send_frame(self, opcode, payload):
        mask = os.urandom(4)
        size = len(payload)
        length = (bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0xFE, size) if size < 65536
                  else struct.pack("!BQ", 0xFF, size))
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        try:
            self.stream.sendall(bytes([0x80 | opcode]) + length + mask + masked)
        except OSError as error:
            # The server may have sent a close frame before it closed: reading finds it.
            if isinstance(error, TimeoutError):
                raise

    def send(self, **message):
        self.send_frame(TEXT, json.dumps(message).encode())

    def receive(self, *types):
        """The next message, or the next whose type is one of `types`; pings are answered. Raises `Closed`."""
        while True:
            opcode, payload = self._frame()
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                raise Closed(code, payload[2:].decode(errors="replace"))
            if opcode == PING:
                self.send_frame(PONG, payload)
            if opcode == TEXT:
                message = json.loads(payload)
                if not types or message["type"] in types:
                    return message

    def close_code(self):
        """Reads whatever comes until the connection ends and returns the close code."""
        while True:
            try:
                self.receive()
            except Closed as closed:
                return closed.code

    def drop(self):
        """Ends the connection without a closing handshake, as a lost network does."""
        self.stream.close()

    def _frame(self):
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        return first & 0x0F, self._take(size)

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _fill(self):
        try:
            data = self.stream.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed
        self.buffer += data
