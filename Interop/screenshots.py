#!/usr/bin/env python3
"""Takes the documentation's pictures of the call page: every scene wide and narrow, light and dark."""

import os
import time

from lab import Lab, LabError, require_root_and_tools
from support import browser, portrait, results, server
from support.call import Participant
from support.results import eventually

SIZES = {"wide": (1280, 800, False), "narrow": (390, 844, True)}
SCHEMES = ("light", "dark")
ROOM = "tuesday-standup"
PEOPLE = ("Ada", "Grace", "Edsger", "Barbara")
LARGEST = 600_000


def shoot(person, scene, directory):
    """The scene as it is now, in every size and color scheme."""
    for size, (width, height, mobile) in SIZES.items():
        person.page.resize(width, height, mobile)
        for scheme in SCHEMES:
            person.page.prefer(color_scheme=scheme, reduced_motion="reduce")
            # Two frames later the new layout has been painted.
            person.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            path = os.path.join(directory, f"{scene}-{size}-{scheme}.png")
            person.page.screenshot(path)
            if os.path.getsize(path) > LARGEST:
                raise LabError(f"{path} has {os.path.getsize(path)} bytes, more than {LARGEST}")
            print(path, flush=True)
    person.page.resize(*SIZES["wide"])


def open_page(lab, directory, number):
    """A person with a browser and a face of their own."""
    home = os.path.join(directory, f"browser{number}")
    os.makedirs(home)
    # The page shows the file's name as that of the camera.
    portrait.write(os.path.join(home, "Camera.y4m"), number)
    namespace = lab.host(f"person{number}", f"203.0.113.{40 + number}/24")
    return Participant(browser.Browser(namespace, home, "--use-file-for-fake-video-capture=Camera.y4m"), ROOM,
                       PEOPLE[number])


def wait_for_sharpness(person, patience=15):
    """Encoders begin small. A machine that is too slow for more gets blurred pictures, but it gets them."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(peer["video"]["width"] < portrait.WIDTH for peer in person.peers()):
        time.sleep(0.2)


def toggle(person, button, panel, shown):
    if person.visible(panel) != shown:
        person.page.click(button)
        eventually(f"{panel} is {'shown' if shown else 'hidden'}", lambda: person.visible(panel) == shown, 5)


def conversation(people):
    ada, grace = people
    for speaker, listener, text in ((grace, ada, "Can you hear me?"), (ada, grace, "Loud and clear."),
                                    (grace, ada, "Direct path, 4 ms. Not bad.")):
        speaker.says(text, [listener])
    toggle(grace, "#chat-toggle", "#chat-input", False)


def take(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    pictures = options.keep or "Documentation/screenshots"
    os.makedirs(pictures, exist_ok=True)
    with results.directory(None) as directory, Lab() as lab:
        there = lab.host("server", f"{server.ADDRESS}/24")
        floe = server.FloeServer(binary, there, directory, "--listen", server.ADDRESS,
                                 *server.allow("203.0.113.0/24"))
        people = []
        try:
            with floe:
                ada = open_page(lab, directory, 0)
                people.append(ada)
                eventually("the lobby shows the camera", lambda: ada.page.evaluate(
                    "[...document.querySelectorAll('video')].some(video => video.videoWidth)"), 20)
                shoot(ada, "lobby", pictures)
                people.append(open_page(lab, directory, 1))
                for person in people:
                    person.join()
                for person in people:
                    person.wait_for_call()
                wait_for_sharpness(ada)
                shoot(ada, "call-two", pictures)
                conversation(people)
                toggle(ada, "#chat-toggle", "#chat-input", True)
                shoot(ada, "chat", pictures)
                toggle(ada, "#chat-toggle", "#chat-input", False)
                toggle(ada, "#details-toggle", "#relay-only", True)
                shoot(ada, "details", pictures)
                toggle(ada, "#details-toggle", "#relay-only", False)
                for number in range(2, len(PEOPLE)):
                    people.append(open_page(lab, directory, number))
                    people[-1].join()
                ada.wait_for_call(3)
                wait_for_sharpness(ada)
                shoot(ada, "call-four", pictures)
                floe.kill()
                eventually("the page tells that the server is gone", lambda: ada.visible("#problem"), 60)
                shoot(ada, "error", pictures)
        finally:
            for person in people:
                person.browser.close()
    return 0


if __name__ == "__main__":
    results.main(take, __doc__)
