"""Random packets: right ones, and everything that may be wrong with them."""

import struct

SIZES = (0, 1, 3, 20, 21, 160, 172, 1000, 1200, 1201, 1228, 1229, 1232, 1233, 1440, 1444, 1445, 1464, 1465, 1468, 1469, 1472)


def flip(rng, data, first, end=None):
    at = rng.randrange(first, end or len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]


def short(number):
    return struct.pack("!H", number & 0xFFFF)


def send_random(rng, scene):
    """Sends one packet, or the pieces of one, or one of many that are put together."""
    channel, relay = scene.CHANNEL, scene.relay
    to_peer = rng.random() < 0.5
    header = 48 if scene.is_ipv6 else 28
    data = rng.randbytes(min(rng.choice(SIZES), 1500 - header - (4 if to_peer else 0)))
    framed = short(channel) + short(len(data)) + data
    wire, ports, payload = ((scene.client, [scene.CLIENT_PORT, scene.SERVER_PORT], framed) if to_peer else
                            (scene.peer, [scene.PEER_PORT, relay], data))
    options = {"tos": rng.choice((0, 0, 0xB8, 0xB9, 0xC0, 0xE3, 3)), "ttl": rng.choice((64, 64, 64, 2, 255)),
               "fragment": rng.choice((0, 0x4000)), "ident": rng.randrange(65536)}
    frame = {}
    kind = rng.randrange(26)
    if kind == 0:
        payload = short(channel) + short(rng.randrange(65536)) + data
    elif kind == 1:
        payload = framed[:1468] + rng.randbytes(rng.randrange(1, 5))
    elif kind == 2:
        payload = short(rng.choice((channel + 1, 0x4000, 0x4FFF, 0x5000, 0x7FFF, 0x8000, 0x3FFF))) + framed[2:]
    elif kind == 3:
        ports = [ports[0] + 2, ports[1]]
    elif kind == 4:
        ports = [ports[0], relay if to_peer else scene.SERVER_PORT]
    elif kind == 5:
        wire = scene.stranger
    elif kind == 6:
        options["ttl"] = rng.choice((0, 1))
    elif kind == 7:
        options["options"] = True
    elif kind == 8:
        options["wrong"] = 1 << rng.randrange(16)
    elif kind == 9:
        options["version"] = rng.choice((1, 4, 5, 6))
    elif kind == 10:
        options["fragment"] = rng.choice((0x2000, 1, 0x1FFF))
    elif kind in (11, 12):
        send_by_socket(rng, scene, to_peer, data[:1200], merged=kind == 11)
        return
    elif kind == 13:
        frame["tag"] = rng.choice((0, 5))
    elif kind == 14:
        frame["target"] = scene.OTHER_HOST
    elif kind == 15:
        payload = payload[:rng.randrange(4)]
    content = wire.datagram(*ports, payload)
    if kind == 16:
        content = content[:6] + short(struct.unpack_from("!H", content, 6)[0] ^ 1 << rng.randrange(16)) + content[8:]
    elif kind == 17:
        content = content[:4] + short(rng.choice((0, 7, 8, len(content) - 1, len(content) + 1))) + content[6:]
    elif kind == 18 and len(content) > 12:
        content = flip(rng, content, 8)
    elif kind == 19:
        content = content[:6] + b"\0\0" + content[8:]
    packets = [wire.packet(content, **options)]
    if kind == 20 and len(content) > 24:
        packets = [wire.packet(content[:16], **options | {"fragment": 0x2000}),
                   wire.packet(content[16:], **options | {"fragment": 2})]
    elif kind == 21:
        packets[0] += rng.randbytes(rng.randrange(1, 10))
    elif kind == 22:
        packets[0] = packets[0][:rng.randrange(len(packets[0]))] or b"\0"
    elif kind == 23:
        packets[0] = flip(rng, packets[0], 0, header)
    for packet in packets:
        wire.send(packet, **frame)


def send_by_socket(rng, scene, to_peer, data, merged):
    """As programs send: with checksums that the kernel of the host has left to its card, or many packets in one."""
    payload = short(scene.CHANNEL) + short(len(data)) + data if to_peer else data
    count = rng.randrange(2, 9) if merged and payload else 1
    try:
        scene.send_merged(to_peer, payload, count)
    except OSError:
        # What an ICMP message has said about an earlier packet; these come by and by, as the kernel limits their rate.
        scene.send_merged(to_peer, payload, count)
