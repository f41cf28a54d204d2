"""The web server: the page, health, metrics, credentials, and clients that misbehave."""

import json
import time

from support import server, sockets, stun, websocket

from .place import HOST

API_KEY = "a-key-for-these-tests"


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def expect_status(place, expected, *lines, body=b""):
    """Sends a raw request and checks that its status is one of those expected."""
    answer = place.raw("\r\n".join([*lines, "", ""]).encode() + body)
    assert status_of(answer) in expected, f"{lines[0][:60]!r} is answered with {answer[:60]!r}, not {expected}"


def page(place):
    answer = place.get("/")
    assert answer.status == 200 and b"<html" in answer.body.lower(), f"{answer.status} {answer.body[:80]}"
    assert answer.headers["content-type"].startswith("text/html"), answer.headers
    policy = answer.headers.get("content-security-policy", "")
    assert "default-src" in policy and "unsafe-eval" not in policy, f"the policy is {policy!r}"
    assert "unsafe-inline" not in policy, f"the policy allows inline code: {policy}"
    assert answer.headers.get("x-content-type-options") == "nosniff", answer.headers
    tag = answer.headers["etag"]
    again = place.get("/", headers={"If-None-Match": tag})
    assert again.status == 304 and not again.body, f"{again.status} with {len(again.body)} bytes"
    assert place.get("/", headers={"If-None-Match": '"other"'}).status == 200
    head = place.get("/", method="HEAD")
    assert head.status == 200 and not head.body
    assert place.get("/?room=abc&name=x").status == 200


def hides_files(place):
    for path in ("/../key.pem", "/%2e%2e/key.pem", "/..%2fkey.pem", "//etc/passwd", "/nothing", "/state/key.pem"):
        answer = place.raw(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(answer) in (400, 403, 404), f"{path} is answered with {answer[:60]!r}"
        assert b"PRIVATE KEY" not in answer


def explains_https(place):
    """A browser that was told http:// for the port of HTTPS shows an explanation, not an empty page."""
    with sockets.connect(place.client, server.ADDRESS, 8443) as stream:
        answer = sockets.exchange(stream, f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert status_of(answer) == 400 and b"https://" in answer, f"answered with {answer[:200]!r}"


def health_and_metrics(place):
    assert place.local("/healthz").status == 200
    metrics = place.local("/metrics")
    assert metrics.status == 200 and b"# TYPE " in metrics.body, metrics.body[:200]
    for line in metrics.body.decode().splitlines():
        if line and not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])
    outside = place.get("/metrics")
    assert outside.status in (403, 404), f"anybody may read the metrics: {outside.status}"


def plain_http_is_local(place):
    try:
        sockets.request(place.client, server.ADDRESS, 8080, "/healthz", timeout=2)
    except OSError:
        return
    raise AssertionError("the plain HTTP port answers other machines")


def refuses_rebinding(place):
    """A stranger's name that leads to loopback must not make the stranger's page one of this machine."""
    for host in ("evil.example", "evil.example:8080", "203.0.113.10:8080"):
        answer = place.local("/", headers={"Host": host})
        assert answer.status in (400, 403, 421), f"plain HTTP as {host} is answered with {answer.status}"
    assert place.local("/", headers={"Host": "localhost:8080"}).status == 200


def turn_rest(place):
    path = "/turn?service=turn&username=bob"
    for refused in (place.get(path), place.get(path + "&key=wrong")):
        assert refused.status in (401, 403), f"credentials without a key: {refused.status}"
        assert b"password" not in refused.body
    bearer = place.get(path, headers={"Authorization": f"Bearer {API_KEY}"})
    assert bearer.status == 200, f"the key in a header: {bearer.status}"
    answer = place.get(f"{path}&key={API_KEY}")
    assert answer.status == 200, f"{answer.status} {answer.body[:200]}"
    granted = json.loads(answer.body)
    assert granted["ttl"] > 0 and any(uri.startswith("turn:") for uri in granted["uris"]), granted
    with place.udp() as made:
        allocated = stun.Allocation(made, granted["username"], granted["password"]).answer
    assert allocated.outcome == stun.SUCCESS, f"its credentials are refused with {allocated.error}"


def too_much(place):
    huge = "x" * 200_000
    expect_status(place, (431, 414), f"GET /{huge} HTTP/1.1", f"Host: {HOST}")
    expect_status(place, (431,), "GET / HTTP/1.1", f"Host: {HOST}", f"X-Filler: {huge}")
    expect_status(place, (431,), "GET / HTTP/1.1", f"Host: {HOST}", *[f"X-{number}: y" for number in range(5000)])
    expect_status(place, (413, 405), "POST / HTTP/1.1", f"Host: {HOST}", "Content-Length: 99999999999")


def nonsense(place):
    host = f"Host: {HOST}"
    for lines in (["GET / HTTP/1.1"], ["GET / HTTP/1.1", host, "Host: other"], ["GET / HTTP/1.1", "Host: a b"],
                  ["GET / HTTP/1.1", host, " folded"], ["GET / HTTP/1.1", host, "No colon"], ["GET  / HTTP/1.1", host],
                  ["POST / HTTP/1.1", host, "Content-Length: 1", "Content-Length: 2"],
                  ["POST / HTTP/1.1", host, "Content-Length: 1", "Transfer-Encoding: chunked"]):
        expect_status(place, (400,), *lines)
    expect_status(place, (400, 505), "GET / HTTP/3.0", host)
    expect_status(place, (405, 501), "BREW / HTTP/1.1", host, "Connection: close")


def pipelined(place):
    get = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n"
    answer = place.raw(f"{get}\r\n{get}Connection: close\r\n\r\n".encode())
    assert answer.count(b"HTTP/1.1 200") == 2, f"two requests got {answer.count(b'HTTP/1.1 200')} answers"


def slow_loris(place):
    with sockets.connect(place.client, server.ADDRESS, 8443, tls=True, timeout=60) as stream:
        start = time.monotonic()
        stream.sendall(b"GET / HTTP/1.1\r\n")
        stream.settimeout(1)
        while time.monotonic() - start < 60:
            try:
                stream.sendall(b"X: y\r\n")
                if not stream.recv(4096):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    raise AssertionError("a request that never ends is not cut off within 60 s")


def handshake_never_ends(place):
    with sockets.connect(place.client, server.ADDRESS, 8443, timeout=45) as stream:
        assert stream.recv(1) == b"", "the server speaks before the client's TLS hello"


def upgrade_refused(place, expected, **options):
    try:
        place.websocket(**options).drop()
    except websocket.Refused as refused:
        assert refused.status == expected, f"the answer is {refused}, expected {expected}"
        return
    raise AssertionError(f"the WebSocket was let in with {options}")


def without_subprotocol(place):
    upgrade_refused(place, 400, protocol=None)
    upgrade_refused(place, 400, protocol="chat")


def foreign_origin(place):
    for origin in ("https://evil.example", f"http://{HOST}", f"https://{server.ADDRESS}", "null"):
        upgrade_refused(place, 403, origin=origin)


def own_origin(place):
    place.websocket(origin=f"https://{HOST}").drop()
    place.websocket().drop()


def tests(place):
    yield "the page comes with a content security policy and an ETag", page, place
    yield "no path leads out of the page's files", hides_files, place
    yield "health and metrics from loopback, no metrics from elsewhere", health_and_metrics, place
    yield "plain HTTP on the port of HTTPS: 400 that says what to do", explains_https, place
    yield "plain HTTP is not to be had from another machine", plain_http_is_local, place
    yield "plain HTTP is served under the name of this machine only", refuses_rebinding, place
    yield "/turn hands out credentials for an API key only (turn 204)", turn_rest, place
    yield "too long requests: 431, 413", too_much, place
    yield "malformed requests: 400", nonsense, place
    yield "two requests in one segment get two answers", pipelined, place
    yield "WebSocket without its subprotocol: 400", without_subprotocol, place
    yield "WebSocket from a page of another origin: 403", foreign_origin, place
    yield "WebSocket from the own page is let in", own_origin, place


def slow_tests(place):
    yield "a request that never ends is cut off", slow_loris, place
    yield "a TLS handshake that never begins is cut off", handshake_never_ends, place

