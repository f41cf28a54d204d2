"""Sockets that live in a namespace, and HTTP over them."""

import contextlib
import http.client
import socket
import ssl

from lab import entered


def make(namespace, kind=socket.SOCK_STREAM, family=socket.AF_INET, timeout=5.0):
    """A socket of the namespace (None: of this process's own)."""
    with entered(namespace) if namespace else contextlib.nullcontext():
        made = socket.socket(family, kind)
    made.settimeout(timeout)
    return made


def connect(namespace, address, port, tls=False, alpn=None, timeout=5.0):
    """A connected TCP socket, with TLS on top if wanted; the certificate is not verified."""
    plain = make(namespace, family=socket.AF_INET6 if ":" in address else socket.AF_INET, timeout=timeout)
    try:
        plain.connect((address, port))
        if not tls:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        return context.wrap_socket(plain, server_hostname=address)
    except BaseException:
        plain.close()
        raise


class Answer:
    """Status, headers (names in lower case) and body of an HTTP response."""

    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}


def request(namespace, address, port, path, method="GET", tls=False, headers=None, timeout=5.0):
    """One HTTP request over a connection of its own."""
    connection = http.client.HTTPConnection(address, port)
    connection.sock = connect(namespace, address, port, tls, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        return Answer(connection.getresponse())


def exchange(stream, data):
    """Sends bytes and reads until the server closes (or falls silent for the socket's timeout)."""
    with contextlib.suppress(OSError):
        stream.sendall(data)
    received = b""
    with contextlib.suppress(OSError):
        while chunk := stream.recv(65536):
            received += chunk
    return received
