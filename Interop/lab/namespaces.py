"""Network namespaces that make up a small internet with no way out.

A `Lab` owns every namespace whose name starts with its prefix (`floe<pid>-`), so that runs never meet and a crashed
run can be recognised and removed by the next one. All interfaces live inside those namespaces; the machine's own
network is never touched.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import threading

NETNS_DIRECTORY = "/run/netns"
CLONE_NEWNET = 0x40000000
ROUTER = "02:00:00:00:00:01"
LAB_NAME = re.compile(r"floe(\d+)-[a-z0-9]+")

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not be built; the text says which command failed and what it said."""


def run(*command, text=None, check=True):
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode:
        raise LabError(f"{' '.join(command)} failed: {done.stdout.strip()}\n{text or ''}".rstrip())
    return done.stdout


def require_root_and_tools(*tools):
    """Raises `LabError` with one sentence that says what is missing and how to get it."""
    if os.geteuid() != 0:
        raise LabError("network namespaces need root: run this as root, for example with sudo")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    packages = {"ip": "iproute2", "nft": "nftables", "turnutils_uclient": "coturn", "turnserver": "coturn",
                "miniupnpd": "miniupnpd-nftables"}
    for tool in ("ip", "nft", *tools):
        if not any(os.access(os.path.join(part, tool), os.X_OK) for part in path.split(":")):
            raise LabError(f"{tool} is not installed: apt-get install {packages.get(tool, tool)}")


@contextlib.contextmanager
def entered(namespace):
    """Puts the calling thread into a namespace: sockets made inside stay there for good."""
    home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    there = os.open(os.path.join(NETNS_DIRECTORY, namespace), os.O_RDONLY)
    try:
        _set_namespace(there)
        try:
            yield
        finally:
            _set_namespace(home)
    finally:
        os.close(there)
        os.close(home)


def _set_namespace(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise LabError(f"cannot enter a network namespace: {os.strerror(code)}")


def existing():
    """The names of all lab namespaces of this machine, each with the process id of its owner."""
    names = os.listdir(NETNS_DIRECTORY) if os.path.isdir(NETNS_DIRECTORY) else []
    return [(name, int(found[1])) for name in sorted(names) if (found := LAB_NAME.fullmatch(name))]


def remove(name):
    """Ends what runs inside a namespace and deletes it."""
    for pid in run("ip", "netns", "pids", name, check=False).split():
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


def sweep(everything=False):
    """Removes the labs whose owner is gone (or all of them) and returns the names removed."""
    gone = [name for name, owner in existing() if everything or not os.path.exists(f"/proc/{owner}")]
    for name in gone:
        remove(name)
    return gone


class Lab:
    """The internet: a bridge with 203.0.113.0/24, 198.51.100.0/24 and 2001:db8::/64 and a router between them.

    44.128.0.0/24, of amateur radio's test network, is there too: for programs to which the documentation's addresses are
    not public ones.
    """

    def __init__(self):
        self.prefix = f"floe{os.getpid()}-"
        self.next_port = 0

    def __enter__(self):
        sweep()
        try:
            self._build_internet()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        for name, _ in existing():
            if name.startswith(self.prefix):
                remove(name)

    def name(self, short):
        return self.prefix + short

    def namespace(self, short, forward=False, v6=False):
        """Makes a namespace with nothing but its loopback interface, and returns its full name."""
        name = self.name(short)
        run("ip", "netns", "add", name)
        settings = {
            "ipv4/ip_forward": int(forward), "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0,
            "ipv4/conf/all/send_redirects": 0, "ipv4/conf/default/send_redirects": 0,
            "ipv6/conf/all/disable_ipv6": int(not v6), "ipv6/conf/default/disable_ipv6": int(not v6),
            "ipv6/conf/lo/disable_ipv6": 0, "ipv6/conf/default/accept_dad": 0,
            "ipv6/conf/all/forwarding": int(forward and v6),
        }
        with entered(name):
            for key, value in settings.items():
                with open(f"/proc/sys/net/{key}", "w") as file:
                    file.write(str(value))
        self.ip(name, "link set lo up")
        return name

    def ip(self, namespace, *lines):
        run("ip", "-n", namespace, "-batch", "-", text="\n".join(lines) + "\n")

    def link(self, one, one_interface, other, other_interface):
        """Connects two namespaces. Both ends are born where they belong: no temporary names anywhere."""
        run("ip", "link", "add", one_interface, "netns", one, "type", "veth",
            "peer", "name", other_interface, "netns", other)
        self.ip(one, f"link set {one_interface} up")
        self.ip(other, f"link set {other_interface} up")

    def attach(self, namespace, interface, *addresses):
        """Plugs a namespace into the internet with public addresses, default routes included."""
        self.next_port += 1
        port = f"port{self.next_port}"
        self.link(namespace, interface, self.internet, port)
        self.ip(self.internet, f"link set {port} master internet")
        lines = [f"addr add {address} dev {interface}{' nodad' if ':' in address else ''}" for address in addresses]
        v4 = sorted((address for address in addresses if "." in address), key=lambda address: address[:4] != "203.")
        if v4:
            lines.append(f"route add default via {v4[0].rpartition('.')[0]}.1")
        if any(":" in address for address in addresses):
            lines.append("route add default via 2001:db8::1")
        self.ip(namespace, *lines)

    def router_address(self):
        """The link-layer address of the internet's router as it is now."""
        return json.loads(run("ip", "-n", self.internet, "-json", "link", "show", "dev", "internet"))[0]["address"]

    def host(self, short, *addresses):
        """A machine with public addresses and nothing in front of it."""
        name = self.namespace(short, v6=any(":" in address for address in addresses))
        self.attach(name, "eth0", *addresses)
        return name

    def _build_internet(self):
        self.internet = self.namespace("net", forward=True, v6=True)
        # What is not the lab's has to vanish without a word, as it does on the real internet: frames for unknown
        # addresses leave through one end of a veth pair whose other end has no use for them. A missing or
        # "unreachable" route would hand EHOSTUNREACH to senders and hide bugs that only silence shows.
        # A bridge takes the lowest address of its ports unless it is given one: the router would change its own
        # whenever a newcomer's is lower, and everybody's neighbour table would be wrong for half a minute.
        self.ip(
            self.internet,
            f"link add internet address {ROUTER} type bridge forward_delay 0", "link set internet up",
            "addr add 203.0.113.1/24 dev internet", "addr add 198.51.100.1/24 dev internet",
            "addr add 44.128.0.1/24 dev internet", "addr add 2001:db8::1/64 dev internet nodad",
            "link add void type veth peer name abyss", "link set void arp off up", "link set abyss up",
            "route add 0.0.0.0/0 dev void", "route add ::/0 dev void",
        )
