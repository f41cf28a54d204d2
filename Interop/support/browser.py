"""Headless Chromium in a namespace, driven over its DevTools pipe: no driver, no port, nothing to install."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

from lab import LabError

FLAGS = [
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check",
    "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows", "--mute-audio", "--password-store=basic",
    "--ignore-certificate-errors", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=fps=10",
    "--disable-features=WebRtcHideLocalIpsWithMdns,Translate,MediaRouter",
]


def require_chromium():
    """The browser's path, or a `LabError` that says how to get it."""
    found = shutil.which("chromium")
    if not found:
        raise LabError("chromium is not installed: apt-get install chromium")
    return found


class Browser:
    """One Chromium process with a profile and a HOME of its own."""

    def __init__(self, namespace, directory, *flags):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        command_read, command_write = os.pipe()
        answer_read, answer_write = os.pipe()
        # DevTools reads descriptor 3 and writes descriptor 4. A shell puts the pipes there: Python itself may be using
        # these numbers at the moment of the fork.
        shell = ["bash", "-c", f'exec "$0" "$@" 3<&{command_read} 4>&{answer_write}']
        command = ["ip", "netns", "exec", namespace, require_chromium()]
        with open(os.path.join(directory, "chromium.log"), "ab") as log:
            self.process = subprocess.Popen(
                [*shell, *command, f"--user-data-dir={directory}/profile", *FLAGS, *flags, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(command_read, answer_write), cwd=directory,
                env={**os.environ, "HOME": directory})
        os.close(command_read)
        os.close(answer_write)
        self.commands, self.answers = command_write, answer_read
        self.buffer, self.last, self.results, self.pages = b"", 0, {}, {}

    def close(self):
        """Ends the browser and its children; they go once their pipe is closed, or else are killed."""
        os.close(self.commands)
        os.close(self.answers)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, method, session=None, timeout=30, **parameters):
        """Sends one DevTools command and returns its result."""
        self.last += 1
        number = self.last
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while number not in self.results:
            self._pump(max(0.0, deadline - time.monotonic()), method)
        answer = self.results.pop(number)
        if "error" in answer:
            raise AssertionError(f"the browser refused {method}: {answer['error'].get('message')}")
        return answer["result"]

    def page(self, width=1000, height=700):
        """A new page in a storage context of its own."""
        return Page(self, width, height)

    def _pump(self, timeout, method):
        if not select.select([self.answers], [], [], timeout)[0]:
            raise AssertionError(f"the browser did not answer {method} in time")
        data = os.read(self.answers, 1 << 20)
        if not data:
            raise AssertionError(f"the browser ended during {method}; see {self.directory}/chromium.log")
        *messages, self.buffer = (self.buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.results[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].note(message["method"], message["params"])


class Page:
    """One tab. What goes wrong inside it (exceptions, broken policies, console errors) is collected in `complaints`,
    each with its source; the source `network` is a request that failed."""

    def __init__(self, browser, width, height):
        self.browser, self.complaints = browser, []
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context,
                              width=width, height=height)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def note(self, event, details):
        if event == "Runtime.exceptionThrown":
            thrown = details["exceptionDetails"]
            self.complaints.append(("exception", thrown.get("exception", {}).get("description") or thrown["text"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] == "error":
            entry = details["entry"]
            self.complaints.append((entry["source"], f"{entry['text']} {entry.get('url', '')}".strip()))
        elif event == "Runtime.consoleAPICalled" and details["type"] == "error":
            words = " ".join(str(word.get("value", word.get("description"))) for word in details["args"])
            self.complaints.append(("console", words))

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def close(self):
        self.browser.pages.pop(self.session, None)
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def resize(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def goto(self, url, timeout=20):
        answer = self.call("Page.navigate", url=url, timeout=timeout)
        assert "errorText" not in answer, f"{url} does not load: {answer.get('errorText')}"
        deadline = time.monotonic() + timeout
        while self.evaluate("document.readyState") != "complete" or self.evaluate("location.href") == "about:blank":
            assert time.monotonic() < deadline, f"{url} is still loading after {timeout} s"
            time.sleep(0.02)

    def evaluate(self, expression, timeout=30):
        """The value of an expression (a promise is awaited), evaluated as if a person had just clicked."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                           userGesture=True, timeout=timeout)
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"]
            raise AssertionError(thrown.get("exception", {}).get("description") or thrown["text"])
        return answer["result"].get("value")

    def click(self, selector):
        """Scrolls an element into view and clicks on its middle, where it must not be hidden behind another one."""
        where = self.evaluate("""(selector => {
            const element = document.querySelector(selector);
            if (!element) return {problem: "there is none"};
            element.scrollIntoView({block: "center", inline: "center"});
            const box = element.getBoundingClientRect();
            if (!box.width || !box.height) return {problem: "it is not shown"};
            if (element.disabled) return {problem: "it is disabled"};
            const x = box.x + box.width / 2, y = box.y + box.height / 2;
            const top = document.elementFromPoint(x, y);
            if (!top || !(element.contains(top) || top.contains(element) || element.labels?.length))
                return {problem: `${top ? top.outerHTML.slice(0, 80) : "nothing"} is in front of it`};
            return {x, y};
        })(%s)""" % json.dumps(selector))
        assert "problem" not in where, f"cannot click on {selector}: {where['problem']}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def fill(self, selector, text):
        """Focuses a field, replaces its content by typing, and lets the page's listeners see it."""
        found = f"document.querySelector({json.dumps(selector)})"
        chosen = self.evaluate(f"(field => {{ field?.focus(); field?.select?.(); return !!field }})({found})")
        assert chosen, f"there is no {selector}"
        self.call("Input.insertText", text=text)

    def prefer(self, **features):
        """Media features: `color_scheme="dark"`, `reduced_motion="reduce"`."""
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-" + name.replace("_", "-"), "value": value} for name, value in features.items()])

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
