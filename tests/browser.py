"""A headless Chromium over its own debugging pipe: no driver, no port, no network."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", "--remote-debugging-pipe")
_BAD = ("error", "warning")


class Browser:
    """One tab; `problems` is what the pages that were opened have complained of so far."""

    def __init__(self, to_browser: int, from_browser: int):
        self._to, self._from, self._number, self._session = to_browser, from_browser, 0, None
        self._left, self.problems = b"", []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, path: Path, width: int, dark: bool = False, script: bool = True) -> None:
        """Show a file at a width in pixels, and return when it is drawn."""
        self._ask("Emulation.setScriptExecutionDisabled", value=not script)
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=path.resolve().as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str):
        """The value of an expression in the page, as JSON has it."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def move_to(self, x: float, y: float) -> None:
        """The pointer, in pixels from the top left of the window."""
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """A PNG of the whole page, or of so many pixels from its top."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self._ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf_bytes(self) -> int:
        """Of the page as it is printed."""
        return len(base64.b64decode(self._ask("Page.printToPDF", printBackground=True)["data"]))

    def _ask(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self._left:
            read = os.read(self._from, 1 << 20)
            assert read, "Chromium has ended"
            self._left += read
        message, _, self._left = self._left.partition(b"\0")
        message = json.loads(message)
        self._note(message.get("method"), message.get("params"))
        return message

    def _note(self, method: str | None, about: dict | None) -> None:
        if method == "Runtime.exceptionThrown" or (method == "Runtime.consoleAPICalled" and about["type"] in _BAD):
            self.problems.append(json.dumps(about)[:500])
        if method == "Log.entryAdded" and about["entry"]["level"] in _BAD:
            self.problems.append(about["entry"]["text"])
        if method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
            self.problems.append(f"asks the network for {about['request']['url']}")


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium while the context lasts; it reads its orders from descriptor 3 and answers on 4."""
    (from_us, to_browser), (from_browser, to_us) = os.pipe(), os.pipe()
    profile = tempfile.mkdtemp()
    command = f'exec "$@" 3<&{from_us} 4>&{to_us}'
    process = subprocess.Popen(["bash", "-c", command, "bash", CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}"],
                               pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            shutil.rmtree(profile, ignore_errors=True)
