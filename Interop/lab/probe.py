"""Checks that a NAT kind behaves as it is named, in the words of RFC 4787 and the manner of RFC 5780.

Plain UDP sockets on two addresses with two ports each stand on the internet. A request names the socket that shall
answer; the answer carries the source address that the request arrived from.
"""

import concurrent.futures
import json
import select
import socket
import threading

from . import namespaces, nat

ADDRESSES = ("203.0.113.20", "198.51.100.20")
PORTS = (4000, 4001)
TCP_PORTS = (3478, 5349, 8443, 9999)


class ProbeServer:
    """Four UDP sockets and some TCP listeners in a namespace of their own, served by one thread."""

    def __init__(self, lab):
        namespace = lab.host("probe", *(f"{address}/24" for address in ADDRESSES))
        with namespaces.entered(namespace):
            self.udp = {(address, port): socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        for address in ADDRESSES for port in PORTS}
            self.tcp = [socket.create_server((ADDRESSES[0], port)) for port in TCP_PORTS]
        for address, server in self.udp.items():
            server.bind(address)
        self.wake, self.stop = socket.socketpair()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def close(self):
        self.stop.send(b"x")
        self.thread.join()
        for item in [*self.udp.values(), *self.tcp, self.wake, self.stop]:
            item.close()

    def _serve(self):
        while True:
            ready, _, _ = select.select([self.wake, *self.udp.values()], [], [])
            if self.wake in ready:
                return
            for server in ready:
                request, source = server.recvfrom(512)
                answer_from = tuple(json.loads(request))
                self.udp[answer_from].sendto(json.dumps(source).encode(), source)


def _ask(client, server, answer_from=None, tries=3):
    """Sends a request and returns the source address that the server saw, or None if no answer came back."""
    client.settimeout(0.3)
    for _ in range(tries):
        client.sendto(json.dumps(answer_from or server).encode(), server)
        try:
            return tuple(json.loads(client.recv(512)))
        except OSError:  # a timeout, or the port-unreachable of a box that rejects
            continue
    return None


def _socket(namespace):
    with namespaces.entered(namespace):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def open_tcp_ports(namespace):
    """Those of `TCP_PORTS` that a client in the namespace can connect to."""
    reached = []
    for port in TCP_PORTS:
        with namespaces.entered(namespace):
            client = socket.socket()
        client.settimeout(0.3)
        with client:
            if client.connect_ex((ADDRESSES[0], port)) == 0:
                reached.append(port)
    return reached


def behaviour(site):
    """Mapping, filtering, whether the port was kept, and the open TCP ports, as one dictionary."""
    first, second = ADDRESSES
    low, high = PORTS
    found = {"mapping": None, "filtering": None, "kept": None, "tcp": open_tcp_ports(site.namespace)}
    with _socket(site.namespace) as client:
        seen = [_ask(client, server) for server in ((first, low), (second, low), (second, high))]
        if seen[0] is None:
            return found
        found["kept"] = seen[0][1] == client.getsockname()[1]
        found["mapping"] = ("endpoint-independent" if seen[0] == seen[1] == seen[2]
                            else "address-dependent" if seen[1] == seen[2] else "address-and-port-dependent")
    # Each filtering test has a fresh socket, for an answered request opens the filter.
    with _socket(site.namespace) as other_address, _socket(site.namespace) as other_port:
        if _ask(other_address, (first, low), answer_from=(second, high), tries=2):
            found["filtering"] = "endpoint-independent"
        elif _ask(other_port, (first, low), answer_from=(first, high), tries=2):
            found["filtering"] = "address-dependent"
        else:
            found["filtering"] = "address-and-port-dependent"
    return found


_INDEPENDENT, _DEPENDENT, _ALL = "endpoint-independent", "address-and-port-dependent", list(TCP_PORTS)
_NO_UDP = dict(mapping=None, filtering=None, kept=None)
EXPECTED = {
    "open": dict(mapping=_INDEPENDENT, filtering=_INDEPENDENT, kept=True, tcp=_ALL),
    "fullcone": dict(mapping=_INDEPENDENT, filtering=_INDEPENDENT, kept=False, tcp=_ALL),
    "addressrestricted": dict(mapping=_INDEPENDENT, filtering="address-dependent", kept=False, tcp=_ALL),
    "portrestricted": dict(mapping=_INDEPENDENT, filtering=_DEPENDENT, kept=False, tcp=_ALL),
    "symmetric": dict(mapping=_DEPENDENT, filtering=_DEPENDENT, kept=False, tcp=_ALL),
    "udpblocked": dict(**_NO_UDP, tcp=_ALL),
    "udprejected": dict(**_NO_UDP, tcp=_ALL),
    "tcp5349only": dict(**_NO_UDP, tcp=[5349, 8443]),
    "tcp3478only": dict(**_NO_UDP, tcp=[3478, 8443]),
}


def survey(lab):
    """Builds a site of every kind and returns what each was found to be, by kind."""
    server = ProbeServer(lab)
    try:
        sites = [nat.Site(lab, f"k{number}", kind, number) for number, kind in enumerate(nat.ALL_KINDS, start=1)]
        with concurrent.futures.ThreadPoolExecutor(len(sites)) as pool:
            return dict(zip(nat.ALL_KINDS, pool.map(behaviour, sites)))
    finally:
        server.close()
