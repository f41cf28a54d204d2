"""The `floe serve` process under test."""

import os
import signal
import subprocess
import time

from lab import LabError

from . import sockets
from . import results

ADDRESS = "203.0.113.10"
ADDRESS6 = "2001:db8::10"
# How every server here receives datagrams, if `--io` was given: the options that say so.
IO = []
LAB_PEERS = ("203.0.113.0/24", "198.51.100.0/24", "10.0.0.0/8", "2001:db8::/64")


def require_binary(path):
    """The absolute path of the server's binary, or a `LabError` that says how to make it."""
    full = os.path.abspath(path)
    if not os.access(full, os.X_OK):
        raise LabError(f"{path} is missing: build it with `make build`, or name another with --floe")
    return full


def allow(*networks):
    """The options that open the address gate for networks; the lab's lie in ranges that it denies by default."""
    return [word for network in networks for word in ("--allow-peer", network)]


class FloeServer:
    """One server process in a namespace. It may be started again on the same state directory."""

    def __init__(self, binary, namespace, directory, *options, under=()):
        self.binary, self.namespace, self.directory, self.options = binary, namespace, directory, list(options)
        self.under = under
        self.state = os.path.join(directory, "state")
        self.log = os.path.join(directory, "server.log")
        self.process = None
        # Called in the new process before the server is started in it.
        self.before = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def spawn(self, *options):
        """Starts the process without waiting for it to be ready."""
        os.makedirs(self.directory, exist_ok=True)
        command = ["ip", "netns", "exec", self.namespace, *self.under, self.binary, "serve", "--state", self.state]
        options = options or self.options
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*command, *([] if "--io" in options else IO), *options], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, preexec_fn=self.before)
        return self

    def start(self, timeout=20):
        """Starts the process and waits until its health page says that it serves."""
        self.spawn()
        results.eventually(lambda: f"the server is healthy; its log ends with: {self.log_tail()}", self.healthy, timeout)
        return self

    def healthy(self):
        code = self.process.poll()
        if code is not None:
            raise AssertionError(f"the server ended with code {code}: {self.log_tail()}")
        try:
            return sockets.request(self.namespace, "127.0.0.1", 8080, "/healthz", timeout=1).status == 200
        except OSError:
            return False

    def log_tail(self, length=600):
        with open(self.log, errors="replace") as log:
            return log.read()[-length:].strip()

    def kill(self):
        """SIGKILL: no good-bye to anybody."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def terminate(self, timeout=15):
        """SIGTERM; returns the exit code and the seconds that it took."""
        start = time.monotonic()
        self.process.terminate()
        return self.process.wait(timeout), time.monotonic() - start

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def metrics(self):
        """The metrics page as text."""
        return sockets.request(self.namespace, "127.0.0.1", 8080, "/metrics").body.decode()
