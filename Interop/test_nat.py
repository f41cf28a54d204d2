"""`floe nat` behind real kernel NATs, against `floe serve --nat-discovery` and against coturn's turnserver.

The first address of both servers is 203.0.113.10, the second one 198.51.100.10.
"""

import contextlib
import json
import os
import subprocess

from lab import Lab, Site, require_root_and_tools
from support import results, server
from support.results import eventually

SECOND = "198.51.100.10"
INDEPENDENT, DEPENDENT = "endpoint-independent", "address-and-port-dependent"
EXPECTED = {
    "open": dict(udp=True, isTranslated=False, mapping=INDEPENDENT, filtering=INDEPENDENT),
    "portrestricted": dict(udp=True, isTranslated=True, mapping=INDEPENDENT, filtering=DEPENDENT, keepsPort=False),
    "symmetric": dict(udp=True, isTranslated=True, mapping=DEPENDENT, filtering=DEPENDENT),
    "udpblocked": dict(udp=False),
}


def nat(binary, namespace, *options):
    """Runs `floe nat` in a namespace; returns its exit code and report."""
    command = ["ip", "netns", "exec", namespace, binary, "nat", server.ADDRESS, "--json", *options]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.stdout, f"it said nothing but: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


def kind(binary, site, *options):
    code, report = nat(binary, site.namespace, *options)
    expected = EXPECTED[site.kind]
    found = {key: report.get(key) for key in expected}
    assert found == expected, f"{found} is not {expected}; the report: {report}"
    assert code == (0 if expected["udp"] else 1), f"exit code {code}"
    assert report["verdict"], "no verdict"
    return report


def extras(binary, site):
    """Fragments, TCP and hairpin behind a NAT, and a short lifetime that the NAT's own timeout decides."""
    with open(f"/run/netns/{site.box}"):
        subprocess.run(["ip", "netns", "exec", site.box, "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=5",
                        "net.netfilter.nf_conntrack_udp_timeout_stream=5"], check=True)
    report = kind(binary, site, "--fragments", "--tcp", "--lifetime", "12")
    assert report["fragments"] is True, report
    assert report["tcpMapping"] == INDEPENDENT, report
    assert report["hairpin"] is False, report
    assert report.get("silenceForgottenSeconds") == 10, report


def lacking(binary, namespace):
    """A server without a second address: it says what is missing."""
    code, report = nat(binary, namespace)
    assert code == 0 and "mapping" not in report.get("serverLacks", {}) or report["isTranslated"], report
    assert "OTHER-ADDRESS" in report["serverLacks"]["filtering"], report


@contextlib.contextmanager
def coturn(namespace, directory):
    """coturn's server with two addresses."""
    log = open(os.path.join(directory, "coturn.log"), "wb")
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "turnserver", "-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli",
         "-L", server.ADDRESS, "-L", SECOND, "-p", "3478", "--pidfile", os.path.join(directory, "pid"),
         "--userdb", os.path.join(directory, "db"), "--log-file", "stdout"], stdout=log, stderr=log)
    try:
        eventually("turnserver listens", lambda: subprocess.run(
            ["ip", "netns", "exec", namespace, "ss", "-Hlun", "sport = 3479"], text=True,
            capture_output=True).stdout.count(":3479 ") >= 2, timeout=10)
        yield
    finally:
        process.kill()
        process.wait()
        log.close()


def test(options):
    require_root_and_tools("turnserver")
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24", f"{SECOND}/24")
        sites = [Site(lab, f"n{number}", kind, number) for number, kind in enumerate(EXPECTED, start=1)]
        listeners = ["--listen", server.ADDRESS, "--listen", SECOND]
        pair = ["--nat-discovery", f"{server.ADDRESS}/{SECOND}"]
        with server.FloeServer(binary, there, directory, *listeners, *pair):
            outcome.run_side_by_side((f"floe serve, {site.kind} (turn 183)", kind, binary, site) for site in sites)
            outcome.run("floe serve, fragments, TCP, hairpin and lifetime behind a NAT", extras, binary, sites[1])
        with server.FloeServer(binary, there, directory, *listeners):
            outcome.run("a server with one address is said to lack another", lacking, binary, sites[1].namespace)
        with coturn(there, directory):
            outcome.run_side_by_side((f"coturn, {site.kind} (turn 183)", kind, binary, site) for site in sites)
    return outcome.finish()


if __name__ == "__main__":
    results.main(test, __doc__)
