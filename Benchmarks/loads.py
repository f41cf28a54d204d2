"""What `make bench` measures: the servers, the loads, and where they run."""

PORT, USER, PASSWORD = 3478, "bench", "bench"
RELAY_PORTS = (10000, 32000)


class Place:
    """Where server and generator are: on one machine's loopback, or in two namespaces joined by a veth pair."""

    def __init__(self, name, server, generator, block, namespaces=(None, None), threads=()):
        self.name, self.server, self.generator = name, server, generator
        self.block = block  # addresses for many clients with one socket
        self.server_namespace, self.generator_namespace = namespaces
        # Kernel threads that receive for the server, which a network card's interrupts would do.
        self.threads = threads


class Variant:
    """A server under test: how to start it, and where it can be measured, if not with all loads."""

    def __init__(self, name, command, needs=None, places=("loopback", "namespaces"), loads=None):
        self.name, self.command, self.needs, self.places, self.loads = name, command, needs, places, loads

    def suits(self, load):
        """Packets without a checksum are not the kernel's fast path's, which leaves them to what is measured anyway."""
        if load.is_merged and self.needs == "--fast-path":
            return False
        return load.place in self.places and (self.loads is None or load.name in self.loads)


def floe(*options):
    def command(tools, place, directory):
        return [tools.floe, "serve", "--listen", place.server, "--relay-ip", place.server, "--turn-port", str(PORT),
                "--turns-port", "0", "--dtls-port", "0", "--https-port", "0", "--http-port", "0", "--threads", "1",
                "--state", f"{directory}/state", "--relay-ports", "%d-%d" % RELAY_PORTS, "--realm", "bench",
                "--user", f"{USER}:{PASSWORD}", "--user-quota", "100000", "--total-quota", "100000",
                "--prefix-rate", "100000000", "--allow-peer", f"{place.generator}/32", "--log-level", "warning",
                *tools.known(options)]
    return command


def coturn(tools, place, directory):
    return ["turnserver", "-n", f"--listening-ip={place.server}", f"--relay-ip={place.server}",
            f"--listening-port={PORT}", "--allow-loopback-peers", "--lt-cred-mech", f"--user={USER}:{PASSWORD}",
            "--realm=bench", "--no-cli", "--no-tls", "--no-dtls", "--no-software-attribute", "--no-rfc5780",
            "--no-stun-backward-compatibility", "--min-port=%d" % RELAY_PORTS[0], "--max-port=%d" % RELAY_PORTS[1],
            "-m", "1", "--log-file=stdout", "--simple-log", f"--pidfile={directory}/turnserver.pid",
            f"--userdb={directory}/turndb"]


def minimal(tools, place, directory):
    return [tools.relay, place.server, str(PORT)]


# Where many sockets cost something.
MANY = ("loopback-1000-to-clients", "loopback-5000-to-clients", "loopback-allocations", "namespaces-1000-to-clients",
        "namespaces-paced-80000")
COTURN, MINIMAL = "coturn", "C relay"
# `needs` is the option that the program must know; `--io` is left out of the command where it is not known.
VARIANTS = [
    Variant("Floe, epoll", floe("--io", "epoll")),
    Variant("Floe, io_uring", floe("--io", "io_uring"), needs="--io"),
    Variant("Floe, sk_lookup", floe("--io", "sk_lookup"), needs="--io", loads=MANY),
    Variant("Floe, kernel fast path", floe("--fast-path", "s0"), needs="--fast-path", places=("namespaces",)),
    Variant(COTURN, coturn),
    Variant(MINIMAL, minimal),
]


class Load:
    """One load: its name for LOADS=, its title in the tables, and the options of `floe bench`."""

    def __init__(self, place, name, title, *options, is_merged=False, has_many=False):
        self.place, self.name, self.title, self.options = place, f"{place}-{name}", title, list(options)
        # Whether the clients share a socket: a generator with a thousand would be slower than the servers.
        self.has_many = has_many
        # Whether datagrams may travel in one piece, which takes a wire that is handed unfinished checksums.
        self.is_merged = is_merged


def relayed(place, count, direction, *options, size=172):
    title = f"{size} B, {count} allocation{'s' if count > 1 else ''}, {direction.replace('-', ' ')}"
    name = f"{count}-{direction}" if size == 172 else f"{count}-{direction}-{size}"
    return Load(place, name, title, "--clients", str(count), "--direction", direction, "--size", str(size), *options,
                has_many=count >= 1000)


def paced(rate):
    return Load("namespaces", f"paced-{rate}", f"172 B, 1000 allocations, both ways, {rate} packets a second",
                "--clients", "1000", "--direction", "both", "--rate", str(rate), has_many=True)


def burst(place, direction):
    return Load(place, f"burst-{direction}", f"1200 B, bursts of 10, 100 allocations, {direction.replace('-', ' ')}",
                "--size", "1200", "--burst", "10", "--merge", "--window", "2048", "--direction", direction, is_merged=True)


# In single packets a veth pair holds 256, and loses what else comes before its receiver has its turn.
RING = "256"
LOADS = [
    *(relayed("loopback", 1, direction) for direction in ("to-peers", "to-clients")),
    *(relayed("loopback", 100, direction) for direction in ("to-peers", "to-clients")),
    *(relayed("loopback", count, "to-clients") for count in (1000, 5000)),
    burst("loopback", "to-peers"),
    burst("loopback", "to-clients"),
    Load("loopback", "bindings", "Binding requests", "--load", "bindings", "--window", "256"),
    Load("loopback", "allocations", "Allocate with its challenge, 5000 allocations", "--load", "allocations",
         "--clients", "5000", has_many=True),
    *(relayed("namespaces", 100, direction, "--window", RING) for direction in ("to-peers", "to-clients")),
    relayed("namespaces", 1000, "to-clients", "--window", RING),
    relayed("namespaces", 100, "to-peers", "--window", RING, size=1200),
    burst("namespaces", "to-peers"),
    burst("namespaces", "to-clients"),
    paced(20_000),
    paced(80_000),
]
