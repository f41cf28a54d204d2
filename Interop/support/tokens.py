"""Access tokens of RFC 7635 between coturn's tools and ours."""

import base64
import json
import os
import subprocess
import time

NAME = "turn.example.org"
MAC_KEY = b"a key of twenty byte"
# The keys that `turnutils_uclient -J` has built in.
UCLIENT_KEYS = (("north", b"01234567890123456789012345678901", "A256GCM"), ("union", b"1234567890123456", "A128GCM"),
                ("oldempire", b"12345678901234567890123456789012", "A256GCM"))


def text(raw):
    return base64.b64encode(raw).decode()


def key_file(directory, keys=UCLIENT_KEYS, name="keys.json"):
    """Writes keys as `--oauth-key-file` reads them."""
    path = os.path.join(directory, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump([{"kid": kid, "k": text(key), "enc": algorithm} for kid, key, algorithm in keys], file)
    return path


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)


def coturn(action, kid, key, algorithm, *options, server=NAME):
    return run("turnutils_oauth", action, "-v", "-i", server, "-j", kid, "-k", text(key), "-l", str(int(time.time())),
               "-m", "86400", "-n", algorithm, *options)


def theirs_is_read_here(binary, directory, kid, key, algorithm):
    """What turnutils_oauth encrypts, `floe token read` opens, and finds in it what was put in."""
    made = coturn("-e", kid, key, algorithm, "-o", text(b"h4j3k2l2n4b5"), "-p", text(MAC_KEY), "-r", "1234",
                  "-u", "HMAC-SHA-1")
    token = json.loads(made.stdout)["access_token"]
    path = key_file(directory, [(kid, key, algorithm)], f"{kid}.json")
    done = run(binary, "token", "read", "--key-file", path, "--server-name", NAME, "--token", token)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert base64.b64decode(found["key"]) == MAC_KEY and found["lifetime"] == 1234 and found["isValid"], found
    assert abs(found["unixSeconds"] - time.time()) < 60, found
    done = run(binary, "token", "read", "--key-file", path, "--server-name", NAME + "x", "--token", token)
    assert done.returncode == 2 and "was not made with key" in done.stderr, f"another server's: {done.stderr!r}"


def ours_is_read_there(binary, directory, kid, key, algorithm):
    """What `floe token mint` makes, turnutils_oauth opens, for the server of that name and no other."""
    path = key_file(directory, [(kid, key, algorithm)], f"{kid}.json")
    done = run(binary, "token", "mint", "--key-file", path, "--server-name", NAME, "--ttl", "1234",
               "--mac-key", text(MAC_KEY))
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["access_token"]
    read = coturn("-d", kid, key, algorithm, "-t", token)
    output = read.stdout + read.stderr
    for expected in ("Valid token", f"mac key: {MAC_KEY.decode()}", "lifetime: 1234"):
        assert expected in output, f"{expected!r} is not in its output: {output!r}"
    other = coturn("-d", kid, key, algorithm, "-t", token, server=NAME + "x")
    assert "Valid token" not in other.stdout + other.stderr, "a token for another server was taken"


def tests(binary, directory):
    for kid, key, algorithm in UCLIENT_KEYS[:2]:
        words = [binary, directory, kid, key, algorithm]
        yield f"turn 186: {algorithm}, a token of turnutils_oauth is read here", theirs_is_read_here, *words
        yield f"turn 186: {algorithm}, our token is read by turnutils_oauth", ours_is_read_there, *words
