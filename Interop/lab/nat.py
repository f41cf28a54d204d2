"""NAT boxes of the kinds that people sit behind, made of nftables rules.

Every box drops what reaches its own INPUT from outside. A box that answers there instead remembers the outside's packet
in its connection tracking, finds the port taken when the inside host sends to that very peer, and hands out another
one: it would be symmetric for whoever spoke first.
"""

import copy
import dataclasses

from . import namespaces

# Without a "random" flag the kernel gives a source the mapping that it already has: endpoint-independent. The range
# lies below the ephemeral ports, so a port is never kept by accident.
ENDPOINT_INDEPENDENT = "snat ip to {public}:10000-19999"
ENDPOINT_DEPENDENT = "masquerade random,fully-random"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a box does with new flows from inside: how ports are mapped and what may leave."""

    mapping: str
    outgoing: str = "accept"
    # Who may send in to a mapping: only those that were sent to ("peer"), all ports of their addresses ("address"), or
    # anybody ("all").
    incoming: str = "peer"


KINDS = {
    "fullcone": Kind(ENDPOINT_INDEPENDENT, incoming="all"),
    "addressrestricted": Kind(ENDPOINT_INDEPENDENT, incoming="address"),
    "portrestricted": Kind(ENDPOINT_INDEPENDENT),
    "symmetric": Kind(ENDPOINT_DEPENDENT),
    "udpblocked": Kind(ENDPOINT_INDEPENDENT, "meta l4proto udp drop; accept"),
    "udprejected": Kind(ENDPOINT_INDEPENDENT, "meta l4proto udp reject; accept"),
    "tcp5349only": Kind(ENDPOINT_INDEPENDENT, "tcp dport { 5349, 8443 } accept; drop"),
    "tcp3478only": Kind(ENDPOINT_INDEPENDENT, "tcp dport { 3478, 8443 } accept; drop"),
}

RULES = """
table ip floe {{
  chain mapping {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" meta l4proto {{ tcp, udp }} {mapping}
    oifname "wan" masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" jump outgoing
  }}
  chain outgoing {{
    {outgoing}
  }}
}}
"""

# Connection tracking alone lets in only who was sent to; for the others mappings are remembered and led back by name.
CONE = """
table ip floe {{
  map inside {{ type inet_service : ipv4_addr . inet_service; flags dynamic; size 4096; timeout 5m; }}
  set known {{ type ipv4_addr . inet_service; flags dynamic; size 4096; timeout 5m; }}
  chain remember {{
    type filter hook postrouting priority 150; policy accept;
    oifname "wan" meta l4proto udp update @inside {{ udp sport : ct original ip saddr . ct original proto-src }}
    oifname "wan" meta l4proto udp update @known {{ ip daddr . udp sport }}
  }}
  chain inward {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta l4proto udp {condition} dnat ip to udp dport map @inside
  }}
  chain forward {{
    iifname "wan" ct status dnat accept
  }}
}}
"""
CONDITIONS = {"all": "", "address": "ip saddr . udp dport @known"}

OPEN = "open"
ALL_KINDS = (OPEN, *KINDS)


class Site:
    """One client's place: its namespace and, unless it is `open`, the NAT box in front of it.

    Site number n has the public address 203.0.113.(100 + n), or 198.51.100.(100 + n) for even n, unless it is given
    another one, and 10.n.0.2 inside.
    """

    def __init__(self, lab, short, kind, number, public=None):
        if kind not in ALL_KINDS:
            raise namespaces.LabError(f"no NAT kind {kind!r}; there are {', '.join(ALL_KINDS)}")
        if not 1 <= number <= 99:
            raise namespaces.LabError(f"site number {number} is not in 1...99")
        self.lab, self.short, self.kind = lab, short, kind
        network = "198.51.100" if number % 2 == 0 else "203.0.113"
        self.public = public or f"{network}.{100 + number}"
        if kind == OPEN:
            self.box, self.inside, self.gateway = None, self.public, None
            self.namespace = lab.host(short, f"{self.public}/24")
            return
        self.inside, self.gateway = f"10.{number}.0.2", f"10.{number}.0.1"
        self.namespace = lab.namespace(short)
        self.box = lab.namespace(short + "nat", forward=True)
        lab.attach(self.box, "wan", f"{self.public}/24")
        lab.link(self.namespace, "eth0", self.box, "lan")
        lab.ip(self.box, f"addr add 10.{number}.0.1/24 dev lan")
        lab.ip(self.namespace, f"addr add {self.inside}/24 dev eth0", f"route add default via 10.{number}.0.1")
        rules = KINDS[kind]
        outgoing = rules.outgoing.replace("; ", "\n    ")
        mapping = rules.mapping.format(public=self.public)
        self._nft(RULES.format(mapping=mapping, outgoing=outgoing))
        if rules.incoming != "peer":
            self._nft(CONE.format(condition=CONDITIONS[rules.incoming]))

    def block(self, *matches):
        """Drops what matches in both directions from now on, flows that exist already included."""
        drops = "\n".join(f"    {match} drop" for match in matches)
        self.unblock()
        self._nft("table ip floe_block {\n  chain forward {\n"
                  f"    type filter hook forward priority filter - 10; policy accept;\n{drops}\n  }}\n}}\n")

    def nft(self, rules):
        """Changes the rules of the site's box."""
        self._nft(rules)

    def neighbour(self, short):
        """One more host in the site's network, as a place of its own."""
        other = copy.copy(self)
        other.short, other.inside = short, self.inside.rpartition(".")[0] + ".3"
        other.namespace = self.lab.namespace(short)
        # The box's two inner ports become one network, whose own packets the box's rules leave alone.
        namespaces.run("ip", "netns", "exec", self.box, "sysctl", "-qw", "-e", "net.bridge.bridge-nf-call-iptables=0")
        self.lab.link(other.namespace, "eth0", self.box, "lan2")
        self.lab.ip(self.box, f"addr del {self.gateway}/24 dev lan", "link set lan down",
                    "link set lan name lan1",
                    "link add lan type bridge forward_delay 0", "link set lan up",
                    "link set lan1 up master lan",
                    "link set lan2 master lan", f"addr add {self.gateway}/24 dev lan")
        self.lab.ip(other.namespace, f"addr add {other.inside}/24 dev eth0", f"route add default via {self.gateway}")
        return other

    def unblock(self):
        self._nft("table ip floe_block\ndelete table ip floe_block\n")

    def _nft(self, rules):
        if self.box is None:
            raise namespaces.LabError(f"site {self.short} is open: it has no box to put rules into")
        namespaces.run("ip", "netns", "exec", self.box, "nft", "-f", "-", text=rules)
