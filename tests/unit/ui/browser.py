"""Chromium driven through chromedriver's own HTTP interface: all that the tests of pages need of it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Control": "\ue009", "Shift": "\ue008"}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """One window with an empty profile in ``folder``."""

    def __init__(self, folder: Path, port: int, width: int = 1100, dark: bool = False) -> None:
        assert CHROMIUM
        assert DRIVER
        self._driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL)
        self._base = f"http://127.0.0.1:{port}"
        until(lambda: self._call("GET", "/status")["ready"])
        flags = [*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},900"]
        flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
        options = {"binary": CHROMIUM, "args": flags}
        asked = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._base += f"/session/{self._call('POST', '/session', asked)['sessionId']}"

    def close(self) -> None:
        """Ends the browser and its driver."""
        self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait(60)

    def open(self, address: str) -> None:
        """Goes there."""
        self._call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function's body of JavaScript returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """An element's text as it is shown; nothing where there is none."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def press(self, *keys: str) -> None:
        """Types texts and the keys of `KEYS`; a ``Control+`` before one holds that down."""
        actions: list[dict[str, str]] = []
        for key in keys:
            *held, last = key.split("+") if key.startswith("Control+") else [key]
            typed = [KEYS.get(last, last)] if last in KEYS or held else list(last)
            actions += [{"type": "keyDown", "value": KEYS[one]} for one in held]
            for one in typed:
                actions += [{"type": "keyDown", "value": one}, {"type": "keyUp", "value": one}]
            actions += [{"type": "keyUp", "value": KEYS[one]} for one in held]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def choose(self, selector: str, file: Path) -> None:
        """Gives a file to an input."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{found[_ELEMENT]}/value", {"text": str(file)})

    def screenshot(self, path: Path) -> None:
        """The window as a PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self._base}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Waits until something is true; what isn't there yet isn't."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
