"""A real Chromium, driven over its DevTools protocol: what it shows, what it complains about."""

import asyncio
import base64
import contextlib
import copy
import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.asyncio.client import connect

from servekit.testing import patience
from servekit.testing.guarded import guarded

COMMAND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")
needs_chromium = pytest.mark.skipif(not COMMAND, reason="there is no Chromium on this machine")
OPTIONS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--remote-debugging-port=0"),
]


class Page:
    """One tab; `complaints` are errors of the console and of the policy, `requests` all URLs."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        command = [COMMAND, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._stack.enter_context(guarded(command, **quiet))
        port = folder / "DevToolsActivePort"
        async with asyncio.timeout(patience(20)):
            while not port.exists() or len(port.read_text().split()) < 2:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        number, path = port.read_text().split()
        address = f"ws://127.0.0.1:{number}{path}"
        self._socket = await self._stack.enter_async_context(connect(address, max_size=2**26))
        self._reading = asyncio.create_task(self._read())
        self._session = ""
        targets = (await self.do("Target.getTargets"))["targetInfos"]
        [tab] = [each["targetId"] for each in targets if each["type"] == "page"]
        attached = await self.do("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            await self.do(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await self._stack.aclose()

    async def do(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = future = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send(json.dumps(message | session))
        async with asyncio.timeout(patience(20)):
            return await future

    async def open(self, url: str) -> None:
        await self.do("Page.navigate", url=url)
        await self.until(
            f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        )

    async def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.do("Emulation.setDeviceMetricsOverride", **size)

    async def scheme(self, name: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": name}
        await self.do("Emulation.setEmulatedMedia", features=[feature])

    async def picture(self, file: Path) -> None:
        shot = await self.do("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240 - nothing else runs here

    async def value(self, expression: str) -> Any:
        """Return what an expression gives, a promise's result too."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = await self.do("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 10) -> Any:
        """Return the value of an expression once it is true."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience(seconds)):
                while not (value := await self.value(expression)):  # noqa: ASYNC110 - a browser's
                    await asyncio.sleep(0.05)
                return value
        shown = await self.value("document.body.innerText")
        raise AssertionError(f"not within time: {expression}\n{shown}\n{self.complaints}")

    async def tab(self, address: str) -> "Page":
        """Return the tab that was opened with an address; what it complains of is ours too."""
        found: list[str] = []
        async with asyncio.timeout(patience(10)):
            while not found:
                targets = (await self.do("Target.getTargets"))["targetInfos"]
                found = [each["targetId"] for each in targets if each["url"] == address]
        other = copy.copy(self)
        attached = await self.do("Target.attachToTarget", targetId=found[0], flatten=True)
        other._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Audits"):
            await other.do(f"{domain}.enable")
        return other

    async def press(self, key: str, text: str = "") -> None:
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, 0)
        common = {"key": key, "windowsVirtualKeyCode": code}
        await self.do("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.do("Input.dispatchKeyEvent", type="keyUp", **common)

    async def _read(self) -> None:
        async for line in self._socket:
            message = json.loads(line)
            if "id" in message:
                future = self._answers.pop(message["id"])
                if future.done():  # who asked has given up
                    continue
                if "error" in message:
                    future.set_exception(RuntimeError(message["error"]["message"]))
                else:
                    future.set_result(message["result"])
            else:
                self._note(message["method"], message.get("params", {}))

    def _note(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(event["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if event["type"] in {"error", "warning"}:
                self.complaints.append(str(event["args"]))
            case "Log.entryAdded" if event["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
            case "Audits.issueAdded":
                self.complaints.append(str(event["issue"]))
