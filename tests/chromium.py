"""Headless Chromium for tests, by its DevTools protocol and tornado, which distributed brings along."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

#: Names a Chromium goes by.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MOST = 1 << 28  # bytes of a message: a screenshot, a picture's pixels


def find_chromium() -> str | None:
    """The program, if there is one on PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page in a browser of its own, without a network.

    Attributes:
        requests: addresses that were asked for. errors: what the console called errors.
    """

    def __init__(self, size: tuple[int, int] = (1280, 900), dark: bool = False) -> None:
        program = find_chromium()
        assert program is not None
        self.folder = Path(tempfile.mkdtemp(prefix="chromium-"))
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loop, self._count = asyncio.new_event_loop(), 0
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={self.folder / 'profile'}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.folder)},
            start_new_session=True,
        )
        self._socket: WebSocketClientConnection = self._loop.run_until_complete(self._connect())
        target = self.call("Target.getTargets")["targetInfos"]
        page = next(item for item in target if item["type"] == "page")
        answer = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network", "Log", "Performance"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **shape)

    _session = ""

    async def _connect(self) -> WebSocketClientConnection:
        note = self.folder / "profile" / "DevToolsActivePort"
        for _ in range(600):
            if note.is_file() and len(lines := note.read_text().split()) == 2:
                address = f"ws://127.0.0.1:{lines[0]}{lines[1]}"
                return await websocket_connect(address, max_message_size=_MOST)
            await asyncio.sleep(0.1)
        raise TimeoutError("Chromium did not start within a minute")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and waits for its answer."""
        return self._loop.run_until_complete(self._call(method, params))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.write_message(json.dumps(message))
        while True:
            text = await asyncio.wait_for(self._socket.read_message(), 120)
            assert text is not None, "Chromium is gone"
            answer = json.loads(text)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._heard(answer)

    def _heard(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])

    def open(self, file: Path) -> None:
        """Opens a file, as a double click does."""
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait("location.protocol === 'file:' && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Waits until an expression is true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise TimeoutError(
            f"{script}; errors: {self.errors}; status: {self.run('document.body.innerText')[:400]}"
        )

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Gives files to an input, as its dialog does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        names = [str(file.resolve()) for file in files]
        self.call("DOM.setFileInputFiles", files=names, nodeId=node)

    def download_to(self, folder: Path) -> None:
        """Where saved files go."""
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder.resolve()))

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Ends the browser."""
        try:
            self._session = ""
            self.call("Browser.close")
            self._process.wait(10)
        except Exception:
            self._process.kill()
            self._process.wait(10)
        self._socket.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)
