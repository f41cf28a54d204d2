"""Frames to the server and from it, in every detail, at one host."""

import contextlib
import json
import socket
import struct

from lab import entered, run

UDP, IPV4, IPV6 = 17, 0x0800, 0x86DD
SO_RCVBUFFORCE = 33
ANY_HOST = b"\x02\0\0\0\0\x99"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def link_address(namespace):
    shown = json.loads(run("ip", "-n", namespace, "-json", "link", "show", "dev", "eth0"))
    return bytes.fromhex(shown[0]["address"].replace(":", ""))


def raw(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class Wire:
    """Writes packets of one host to the server, right in every field unless told otherwise; reads what it is sent."""

    def __init__(self, namespace, address, server, target):
        self.address, self.server = raw(address), raw(server)
        self.protocol = IPV6 if ":" in address else IPV4
        with entered(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.protocol))
            self.socket.bind(("eth0", self.protocol))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.setblocking(False)
        self.target, self.source = target, link_address(namespace)

    def datagram(self, source_port, port, payload):
        head = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0)
        pseudo = self.address + self.server + struct.pack("!HH", UDP, 8 + len(payload))
        return head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF) + payload

    def packet(self, content, *, tos=0, ttl=64, fragment=0, options=False, ident=1, wrong=0, version=None):
        if self.protocol == IPV6:
            return self._packet6(content, tos, ttl, fragment, options, ident, wrong, version or 6)
        extra = b"\x01" * 4 if options else b""
        head = struct.pack("!BBHHHBBH4s4s", (version or 4) << 4 | (5 + len(extra) // 4), tos,
                           20 + len(extra) + len(content), ident, fragment, ttl, UDP, 0, self.address, self.server) + extra
        return head[:10] + struct.pack("!H", checksum(head) ^ wrong) + head[12:] + content

    def _packet6(self, content, tos, ttl, fragment, options, ident, wrong, version):
        following = UDP
        # What belongs to IPv4 alone has its like: a fragment's header, an extension header, a length that is not right.
        if fragment & 0x3FFF:
            place = (fragment & 0x1FFF) << 3 | fragment >> 13 & 1
            content, following = struct.pack("!BBHI", following, 0, place, ident) + content, 44
        if options:
            content, following = bytes((following, 0, 1, 4, 0, 0, 0, 0)) + content, 60
        return struct.pack("!IHBB", version << 28 | tos << 20 | ident, len(content) ^ wrong, following, ttl) + (
            self.address + self.server + content)

    def send(self, packet, tag=None, target=None):
        """With `tag`, as a frame of that VLAN; with `target`, to another Ethernet address."""
        tagged = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
        with contextlib.suppress(OSError):
            self.socket.send((target or self.target) + self.source + tagged + struct.pack("!H", self.protocol) + packet)

    def received(self, ports):
        """The packets that came from the server to one of the ports, and fragments."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = self.socket.recvfrom(65536)
                packet = Packet(frame[14:])
                if where[2] == socket.PACKET_OUTGOING or packet.source != self.server or not packet.protocol == UDP:
                    continue
                if packet.offset == 0 and struct.unpack_from("!H", packet.content, 2)[0] not in ports:
                    continue
                found.append(packet)
        return found

    def close(self):
        self.socket.close()


def without_transaction(indication):
    """A Data indication without its transaction identifier, which is drawn, and which an IPv6 address is XOR-ed with."""
    transaction, rest = indication[8:20], indication[20:]
    if rest[:6] == b"\0\x12\0\x14\0\2":
        rest = rest[:12] + bytes(one ^ other for one, other in zip(rest[12:24], transaction, strict=True)) + rest[24:]
    return indication[:8] + rest


class Packet:
    """A packet that was received, taken apart."""

    def __init__(self, data):
        if data[0] >> 4 == 4:
            # What else a host says, such as its groups (IGMP), has options.
            assert data[9] != UDP or data[0] == 0x45, f"options: {data.hex()}"
            assert checksum(data[:(data[0] & 15) * 4]) == 0, f"a wrong header: {data.hex()}"
            data = data[:struct.unpack_from("!H", data, 2)[0]]
            self.tos, self.hops, self.protocol, self.content = data[1], data[8], data[9], data[20:]
            flags, = struct.unpack_from("!H", data, 6)
            self.offset, self.more = flags & 0x1FFF, bool(flags & 0x2000)
            self.source, self.destination = data[12:16], data[16:20]
        else:
            first, length, self.protocol, self.hops = struct.unpack_from("!IHBB", data)
            self.tos, self.content = first >> 20 & 0xFF, data[40:40 + length]
            self.source, self.destination = data[8:24], data[24:40]
            self.offset, self.more = 0, False
            if self.protocol == 44:
                self.protocol, _, place, _ = struct.unpack_from("!BBHI", self.content)
                self.offset, self.more, self.content = place >> 3, bool(place & 1), self.content[8:]

    def has_right_checksum(self):
        """Whether it is right, or is left to a device to finish, as it is on virtual wires."""
        pseudo = self.source + self.destination + struct.pack("!HH", UDP, len(self.content))
        found, = struct.unpack_from("!H", self.content, 6)
        return checksum(pseudo + self.content) == 0 or found == 0xFFFF - checksum(pseudo)

    def normal(self, relay):
        """All of it but what may differ: identification, flow label, "don't fragment", and the drawn relayed port.

        To clients user space sets "don't fragment" as long as it knows of no smaller MTU on the way; the kernel's packets
        may be cut, for it would not learn of one.
        """
        content = self.content
        if self.offset == 0:
            if not self.more:
                assert self.has_right_checksum(), f"a wrong checksum: {content.hex()}"
            ports, payload = content[:4].replace(struct.pack("!H", relay), b"\xEE\xEE", 1), content[8:]
            if payload[:2] == b"\0\x17":
                payload = without_transaction(payload)
            content = ports + content[4:6] + payload
        return bytes((self.tos, self.hops, self.more)) + struct.pack("!H", self.offset) + self.destination + content
