"""A gateway that opens ports on the box of a site of the lab: Debian's miniupnpd, with PCP, NAT-PMP and UPnP."""

import os
import subprocess

from lab import namespaces
from support.results import eventually

# Port mappings and pinholes go into chains of these names. The site's own rules drop what comes from outside, but for what a
# mapping has led in.
RULES = """
table inet miniupnpd {
  chain forwards { }
  chain redirects { }
  chain sources { }
  chain inward { type nat hook prerouting priority dstnat - 5; policy accept; jump redirects; }
  chain outward { type nat hook postrouting priority srcnat - 5; policy accept; jump sources; }
}
table ip floe { chain forward { iifname "wan" ct status dnat accept; }; }
"""
SETTINGS = """
ext_ifname=wan
listening_ip=lan
enable_natpmp={pcp}
enable_upnp={upnp}
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=forwards
upnp_nat_chain=redirects
upnp_nat_postrouting_chain=sources
uuid=6b1f7c1e-5d0e-4a55-9d2f-0c7a1a6c2f10
allow 1024-65535 {network}/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
# miniupnpd has one switch for both protocols of port 5351: PCP begins with its version, 2.
WITHOUT_PCP = "table inet older { chain input { type filter hook input priority -5; udp dport 5351 @th,64,8 2 drop; }; }"


class Gateway:
    """miniupnpd while it is entered. It refuses to open ports of reserved addresses: the site needs another one."""

    def __init__(self, site, directory, pcp=True, natpmp=True, upnp=True):
        self.site = site
        self.is_older = natpmp and not pcp
        self.words = {"pcp": "yes" if pcp or natpmp else "no", "upnp": "yes" if upnp else "no"}
        self.path = os.path.join(directory, f"gateway-{site.short}-{self.words['pcp']}-{self.words['upnp']}")

    def __enter__(self):
        with open(self.path + ".conf", "w") as file:
            file.write(SETTINGS.format(network=self.site.gateway, **self.words))
        self.site.nft(RULES + (WITHOUT_PCP if self.is_older else ""))
        command = ["miniupnpd", "-d", "-f", self.path + ".conf", "-P", self.path + ".pid"]
        with open(self.path + ".log", "w") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.site.box, *command], stdout=log,
                                            stderr=subprocess.STDOUT)
        ready = "Listening for NAT-PMP/PCP" if self.words["pcp"] == "yes" else "HTTP listening on port"
        eventually("the gateway serves", lambda: ready in self.log(), 10)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=10)
        self.site.nft("delete table inet miniupnpd" + ("; delete table inet older" if self.is_older else ""))

    def log(self):
        with open(self.path + ".log") as file:
            return file.read()

    def mappings(self):
        """The rules of the mappings that it holds now."""
        rules = namespaces.run("ip", "netns", "exec", self.site.box, "nft", "list", "chain", "inet", "miniupnpd", "redirects")
        return [line.strip() for line in rules.splitlines() if "dnat" in line]
