"""A person in a call: one page of one browser, used through its buttons and read through `window.floe.report()`."""

import json
import os
import urllib.parse

from .results import eventually

PAGE = "https://203.0.113.10:8443/"
CONNECT_TIMEOUT = 30


class Participant:
    """Opens the lobby with the room filled in. Nothing happens in the room before `join`."""

    def __init__(self, browser, room, name, address=PAGE, **switches):
        self.browser, self.name = browser, name
        self.page = browser.page()
        self.pressed = 0
        query = urllib.parse.urlencode({"room": room, "name": name, **switches})
        self.page.goto(f"{address}?{query}")
        eventually(lambda: f"{name}: the page offers to join; it complains {self.page.complaints}",
                   lambda: self.page.evaluate("!!window.floe && !!document.querySelector('#join')"), 20)

    def join(self):
        """Presses the button and waits until the server has let the person in."""
        self.page.evaluate("document.querySelector('#join').addEventListener('click', "
                           "() => { window.pressedAt = Date.now() }, {capture: true, once: true})")
        self.page.click("#join")
        eventually(lambda: f"{self.name} has joined: {self.summary()}",
                   lambda: self.report()["signaling"]["joins"] >= 1, 20)
        self.pressed = self.page.evaluate("window.pressedAt")

    def report(self):
        return self.page.evaluate("window.floe.report()")

    def peers(self):
        return self.report()["peers"]

    def close(self):
        self.page.close()

    # What to wait for

    def sees(self, count, frames=5):
        """Whether `count` peers are connected and that many frames of each have been decoded."""
        peers = self.peers()
        return len(peers) == count and all(
            peer["connectionState"] == "connected" and peer["video"]["framesDecoded"] >= frames for peer in peers)

    def wait_for_call(self, count=1, timeout=CONNECT_TIMEOUT):
        eventually(lambda: f"{self.name} sees {count} other(s): {self.summary()}",
                   lambda: self.sees(count), timeout, 0.1)

    def frames(self):
        return sum(peer["video"]["framesDecoded"] for peer in self.peers())

    def wait_for_more_frames(self, count=10, timeout=15):
        """Waits until that many frames more than now have been decoded."""
        begin = self.frames()
        eventually(lambda: f"{self.name} decodes {count} frames beyond {begin}: {self.summary()}",
                   lambda: self.frames() >= begin + count, timeout, 0.1)

    def wait_for_resume(self, earlier, timeout):
        """Waits until signaling is connected again after more resumptions than in an earlier report."""
        count = lambda report: report["signaling"]["resumes"] + report["signaling"]["replayLost"]
        eventually(lambda: f"{self.name} resumes its session: {self.summary()}", lambda: (
            (now := self.report())["signaling"]["state"] == "connected" and count(now) > count(earlier)), timeout, 0.1)

    # What a person does

    def says(self, text, to):
        """Sends a chat text and waits until it stands in everybody else's log."""
        if not self.visible("#chat-input"):
            self.page.click("#chat-toggle")
            eventually("the chat opens", lambda: self.visible("#chat-input"), 5)
        self.page.fill("#chat-input", text)
        self.page.click("#chat-send")
        for other in to:
            eventually(lambda: f"{other.name} reads {text!r}: {other.summary()}", lambda: text in other.page.evaluate(
                "document.querySelector('#chat-log').textContent"), 10)

    def toggle_relay_only(self):
        if not self.visible("#relay-only"):
            self.page.click("#details-toggle")
            eventually("the details open", lambda: self.visible("#relay-only"), 5)
        self.page.click("#relay-only")

    def visible(self, selector):
        return self.page.evaluate(
            f"!!document.querySelector({json.dumps(selector)})?.checkVisibility({{visibilityProperty: true}})")

    # What to say about it

    def selected(self):
        """The selected pair of the first peer."""
        pair = self.peers()[0]["selected"]
        assert pair, f"{self.name} has no selected pair: {self.summary()}"
        return pair

    def path(self):
        """The selected path of each peer in a few words, such as `relay/udp/tls`."""
        words = []
        for peer in self.peers():
            pair = peer["selected"] or {}
            own = "/".join(filter(None, map(pair.get, ("localType", "localProtocol", "localRelayProtocol"))))
            words.append(f"{pair.get('path', 'none')} {own}>{pair.get('remoteType')}")
        return ", ".join(sorted(set(words)))

    def since(self, newcomer, event):
        """Milliseconds from the newcomer's press to this person's event, the latest of all peers."""
        times = [entry["at"] + self.pressed - newcomer.pressed
                 for peer in self.peers() for entry in peer["timeline"] if entry["event"] == event]
        assert times, f"{self.name} has no {event} in its timelines"
        return round(max(times))

    def summary(self):
        """The state in one line, for failures."""
        report = self.report()
        peers = [{"state": peer["connectionState"], "ice": peer["iceConnectionState"], "restarts": peer["iceRestarts"],
                  "frames": peer["video"]["framesDecoded"], "selected": peer["selected"] and peer["selected"]["path"]}
                 for peer in report["peers"]]
        text = {"signaling": report["signaling"], "peers": peers, "problems": report["problems"]}
        return json.dumps(text) + (f" complaints {self.page.complaints}" if self.page.complaints else "")

    def save(self, directory, label):
        with open(os.path.join(directory, f"{label}-{self.name}.json"), "w") as file:
            json.dump(self.report(), file, indent=1)

    def check_complaints(self, network=True):
        """Nothing went wrong in the page; failed requests count only if `network` says that none was to be expected."""
        found = [text for source, text in self.page.complaints if network or source != "network"]
        assert not found, f"{self.name}'s page complains: {found}"
