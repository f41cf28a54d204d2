"""A gateway that opens ports by NAT-PMP (RFC 6886), on the box of a site of the lab."""

import socket
import struct
import threading
import time

from lab import namespaces

PORT = 5351


class Gateway:
    """Answers on the inside address of a site's box; what it grants, the kernel's NAT carries out."""

    def __init__(self, site):
        self.site = site
        self.start = time.monotonic()
        self.ports = {}

    def __enter__(self):
        self.site.nft("table ip mapped {\n  map outside { type inet_service : ipv4_addr . inet_service; }\n"
                      "  map inside { type ipv4_addr . inet_service : inet_service; }\n"
                      "  chain inward { type nat hook prerouting priority dstnat - 5; policy accept;\n"
                      '    iifname "wan" meta l4proto udp dnat ip to udp dport map @outside; }\n'
                      "  chain outward { type nat hook postrouting priority srcnat - 5; policy accept;\n"
                      f'    oifname "wan" meta l4proto udp snat ip to {self.site.public} : '
                      "ip saddr . udp sport map @inside; }\n}\n"
                      'table ip floe { chain forward { iifname "wan" ct status dnat accept; }; }\n')
        with namespaces.entered(self.site.box):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.site.gateway, PORT))
        self.socket.settimeout(0.2)
        self.is_open = True
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_open = False
        self.thread.join()
        self.socket.close()
        self.site.nft("delete table ip mapped")

    def _serve(self):
        while self.is_open:
            try:
                request, client = self.socket.recvfrom(1100)
            except OSError:
                continue
            answer = self._answer(request, client[0])
            if answer:
                self.socket.sendto(answer, client)

    def _answer(self, request, client):
        seconds = int(time.monotonic() - self.start) + 1
        if len(request) < 2 or request[0] != 0:
            # Another version, such as PCP's: the answer says which one is spoken here (RFC 6886 section 3.5).
            return struct.pack("!BBHI", 0, 128, 1, seconds)
        if request[1] == 0:
            return struct.pack("!BBHI", 0, 128, 0, seconds) + socket.inet_aton(self.site.public)
        if request[1] != 1 or len(request) < 12:
            return struct.pack("!BBHI", 0, 128 + request[1], 5, seconds)
        inside, _, lifetime = struct.unpack("!HHI", request[4:12])
        outside = 20000 + inside % 10000
        if lifetime:
            self._open(client, inside, outside)
        else:
            outside = 0
        return struct.pack("!BBHIHHI", 0, 129, 0, seconds, inside, outside, lifetime)

    def _open(self, client, inside, outside):
        if self.ports.get(inside) == client:
            return
        self.ports[inside] = client
        self.site.nft(f"add element ip mapped outside {{ {outside} : {client} . {inside} }}\n"
                      f"add element ip mapped inside {{ {client} . {inside} : {outside} }}\n")
