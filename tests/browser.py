"""A real browser without a window, driven over the DevTools protocol: Chromium speaks it through two pipes by itself.

Nothing but Chromium is needed: no driver, and no library that downloads one.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    # WebGL 2 computed by the processor: machines that run tests have no graphics card.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
PATIENCE_S = 120.0
_CODES = {" ": "Space", "?": "Slash", "+": "Equal", "-": "Minus"}


def chromium() -> str:
    """Where Chromium is; the test that asks is skipped where it is not."""
    if sys.platform == "win32":
        pytest.skip("file descriptors cannot be handed to a browser on Windows")
    named = os.environ.get("AUTOSEG_TEST_BROWSER")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one with AUTOSEG_TEST_BROWSER")
    return found


@dataclass
class Browser:
    """A running Chromium, and what it said that nobody has asked for yet."""

    process: subprocess.Popen
    write: int
    read: int
    pages: dict[str, "Page"] = field(default_factory=dict)
    _buffer: bytes = b""
    _number: int = 0
    _answers: dict[int, dict] = field(default_factory=dict)

    def ask(self, method: str, session: str | None = None, **values: Any) -> dict:
        """Send a command and wait for its answer; events on the way go to their pages."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": values} | ({"sessionId": session} if session else {})
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            self.listen(end - time.monotonic())
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def listen(self, seconds: float) -> None:
        """Take in what comes within so many seconds; raises TimeoutError when nothing does."""
        ready, _, _ = select.select([self.read], [], [], max(0.0, seconds))
        if not ready:
            raise TimeoutError("Chromium does not answer")
        received = os.read(self.read, 1 << 20)
        assert received, f"Chromium has ended ({self.process.poll()})"
        *messages, self._buffer = (self._buffer + received).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].take_in(message["method"], message["params"])

    def open(
        self, address: str, *, width: int = 1280, height: int = 800, dark: bool = False, offline: bool = False
    ) -> "Page":
        """A new tab at an address, once it is loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        page.ask("Emulation.setEmulatedMedia", features=features)
        if offline:
            rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            page.ask("Network.emulateNetworkConditions", offline=True, **rates)
        page.ask("Page.navigate", url=address)
        page.wait("document.readyState === 'complete'")
        return page


@dataclass
class Page:
    """A tab: what it complained of, what it asked the network for, and ways to use it."""

    browser: Browser
    session: str
    target: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def take_in(self, event: str, values: dict) -> None:
        """Note what matters of an event."""
        if event == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in values["args"]))
        elif event == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def ask(self, method: str, **values: Any) -> dict:
        """Send a command to this tab."""
        return self.browser.ask(method, self.session, **values)

    def evaluate(self, code: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, code: str, *, seconds: float = PATIENCE_S) -> None:
        """Wait until an expression is true; what the page complained of stands in the message when it never is."""
        end = time.monotonic() + seconds
        while not self.evaluate(code):
            assert time.monotonic() < end, f"never true: {code}; complaints: {self.complaints}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds."""
        element = f"document.querySelector({selector!r})"
        found = self.evaluate(f"!!{element} && ({element}.click(), true)")
        assert found, f"no {selector} on the page"

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, as the keyboard would."""
        code = f"Digit{key}" if key.isdigit() else _CODES.get(key, f"Key{key.upper()}" if len(key) == 1 else key)
        # A character makes buttons and fields react as to typed text; Enter is one too.
        typed = "\r" if key == "Enter" else key if len(key) == 1 else ""
        common = {"key": key, "code": code, "modifiers": 8 if shift else 0}
        if key == "Enter":
            common["windowsVirtualKeyCode"] = 13
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": typed} if typed else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, selector: str | None = None) -> bytes:
        """What is to be seen, of the whole window or of an element, as PNG."""
        if selector is None:
            return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        box = self.evaluate(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            " return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
        )
        clip = box | {"scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", clip=clip)["data"])

    def close(self) -> None:
        """Close the tab."""
        self.browser.ask("Target.closeTarget", targetId=self.target)


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """Chromium with the empty folder `profile` as its own; ended at the end."""
    program = chromium()
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # The protocol lies on file descriptors 3 and 4 of the child.
    placed = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
    command = ["bash", "-c", placed, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, pass_fds=(to_read, from_write), **quiet)
    os.close(to_read)
    os.close(from_write)
    browser = Browser(process, to_write, from_read)
    try:
        yield browser
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to_write)
        os.close(from_read)
