"""Debian's Chromium, headless, driven over its DevTools protocol through a pipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Of every start: nothing is asked of anybody but what the page asks."""
# Chromium reads commands from descriptor 3 and answers on 4.
LAUNCH = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(it), fcntl.F_DUPFD, 10) for it in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Browser:
    """One tab. `console` holds what it complained of: messages, errors, and refusals of its security policy."""

    reading: int
    writing: int
    session: str = ""
    console: list[str] = field(default_factory=list)
    _number: int = 0
    _buffer: bytes = b""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            received = self._read()
            if received.get("id") == self._number:
                assert "error" not in received, received
                return received["result"]
            if received.get("method") in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
                self.console.append(json.dumps(received["params"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self.reading, 1 << 20)
            assert read, "chromium has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def screen(self, width: int, *, dark: bool, height: int = 844) -> None:
        """Be a screen so many CSS pixels wide, of somebody who prefers that scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def get(self, expression: str) -> Any:
        """Return what a JavaScript expression, or its promise, comes to."""
        received = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in received, received
        return received["result"].get("value")

    def wait(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true; the page itself looks, at each frame."""
        truth = self.get(
            f"""new Promise(done => {{
              const ends = Date.now() + {1000 * seconds};
              const look = () => {{
                let is = false;
                try {{ is = ({condition}) }} catch {{ /* not yet */ }}
                if (is || Date.now() > ends) done(is); else setTimeout(look, 20);
              }};
              look();
            }})"""
        )
        assert truth, f"{condition} is not so after {seconds:g} s: {self.get('document.body.innerText')}"

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Browser]:
    """Start Chromium with a new profile; it ends with the context."""
    assert CHROMIUM is not None
    received, writing = os.pipe()
    reading, answering = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - fixed words
        [
            sys.executable,
            "-S",
            "-c",
            LAUNCH,
            str(received),
            str(answering),
            CHROMIUM,
            *FLAGS,
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            *flags,
            "about:blank",
        ],
        pass_fds=(received, answering),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(received)
    os.close(answering)
    there = Browser(reading, writing)
    try:
        target = there.call("Target.createTarget", url="about:blank")["targetId"]
        there.session = there.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            there.call(f"{domain}.enable")
        yield there
    finally:
        process.terminate()
        process.wait(30)
        os.close(reading)
        os.close(writing)
