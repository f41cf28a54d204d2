"""Runs tests one after another and counts them."""

import argparse
import concurrent.futures
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback

from lab import LabError

from . import server

LONGEST = 1500


def option(name, default):
    """Takes `name N` out of the arguments; the other options are those of every test."""
    if name not in sys.argv:
        return default
    index = sys.argv.index(name)
    value = int(sys.argv[index + 1])
    del sys.argv[index:index + 2]
    return value


class Results:
    """Counts passed and failed tests; the last line of a run is `N passed, N failed`."""

    def __init__(self, only=()):
        self.passed, self.failed, self.only = 0, [], only
        self.lock = threading.Lock()

    def wanted(self, name):
        return not self.only or any(part in name for part in self.only)

    def run(self, name, test, *arguments):
        """Runs one test and returns whether it passed. A failure is printed and does not stop the run."""
        if not self.wanted(name):
            return None
        start = time.monotonic()
        try:
            test(*arguments)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            text = str(error) if len(str(error)) < LONGEST else f"{str(error)[:LONGEST]}..."
            line = f"FAIL {name}\n     {kind}{text}\n     at {place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
            passed = False
        else:
            line, passed = f"ok   {name} ({time.monotonic() - start:.1f} s)", True
        with self.lock:
            self.passed += passed
            self.failed += [] if passed else [name]
            print(line, flush=True)
        return passed

    def run_side_by_side(self, tests, workers=4):
        """Runs tests that mostly wait, given as name, function and arguments, a few at a time."""
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda test: self.run(*test), tests))

    def finish(self):
        """Prints the count and returns the exit code. A run without a test counts as failed."""
        if self.failed:
            print("failed: " + "; ".join(self.failed))
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


@contextlib.contextmanager
def directory(options):
    """A directory for state and logs: the one named by --keep, or one that goes when the test ends."""
    if options and options.keep:
        os.makedirs(options.keep, exist_ok=True)
        yield os.path.abspath(options.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="floe-test-") as made:
            yield made


def main(test, description):
    """The frame of every test file: options, complaints on stderr, exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--floe", default=".build/release/floe", help="the server's binary (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="run tests whose name has WORDS")
    parser.add_argument("--io", choices=("auto", "epoll", "io_uring", "sk_lookup"), help="how the servers receive datagrams")
    parser.add_argument("--keep", metavar="DIRECTORY", help="keep logs and reports there")
    # The default action of SIGTERM would leave namespaces and processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parser.parse_args()
    server.IO += ["--io", options.io] if options.io else []
    try:
        sys.exit(test(options))
    except LabError as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        sys.exit(1)


def eventually(what, condition, timeout, interval=0.05):
    """Polls until the condition returns something true and returns that; fails with `what` after `timeout` seconds.

    `what` may be a function: it is then asked at the end for the state to report.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(interval)
