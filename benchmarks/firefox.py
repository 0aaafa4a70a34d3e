"""An exported page in Firefox, from file://: its answer, console and requests.

    python benchmarks/firefox.py page.html picture.png [--screenshot shot.png]

Needs Firefox (apt-get install firefox-esr) and the package websockets: Firefox is asked by
WebDriver BiDi, which it speaks without a driver. Prints what the page says of the picture; ends
with status 1 where its console says something, or it asks for anything outside of itself.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

START_SECONDS, ANSWER_SECONDS, PAUSE = 60, 20, 0.1
LARGEST_MESSAGE = 2**27
SAYS = "['#verdict', '#time'].map((id) => document.querySelector(id).innerText).join('\\n')"


class Firefox:
    """One session. Events are kept: lines of the console, and addresses asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.console: list[str] = []
        self.requests: list[str] = []

    async def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise SystemExit(f"{method}: {answer['message']}")
                return answer["result"]
            self._keep(answer)

    def _keep(self, event: dict[str, Any]) -> None:
        if event["method"] == "log.entryAdded":
            self.console.append(f"{event['params']['level']}: {event['params']['text']}")
        elif event["method"] == "network.beforeRequestSent":
            self.requests.append(event["params"]["request"]["url"])


@contextlib.asynccontextmanager
async def firefox() -> AsyncIterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        raise SystemExit("no Firefox here: apt-get install firefox-esr")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as profile:
        words = [program, "--headless", "--no-remote", "--profile", profile]
        words += ["--remote-debugging-port", str(port)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            async with asyncio.timeout(START_SECONDS):
                made = await _connected(port)
            async with made:
                yield Firefox(made)
        finally:
            process.terminate()
            process.wait()


async def _connected(port: int) -> ClientConnection:
    while True:
        with contextlib.suppress(OSError):
            return await connect(f"ws://127.0.0.1:{port}/session", max_size=LARGEST_MESSAGE)
        await asyncio.sleep(PAUSE)


async def answer(page: Path, picture: Path, screenshot: Path | None) -> bool:
    async with firefox() as browser:
        about = await browser.ask("session.new", capabilities={})
        events = ["log.entryAdded", "network.beforeRequestSent"]
        await browser.ask("session.subscribe", events=events)
        tree = await browser.ask("browsingContext.getTree")
        tab = {"context": tree["contexts"][0]["context"]}
        where = page.resolve().as_uri()
        await browser.ask("browsingContext.navigate", **tab, url=where, wait="complete")
        by_css = {"type": "css", "value": "#file"}
        (node,) = (await browser.ask("browsingContext.locateNodes", **tab, locator=by_css))["nodes"]
        element = {"sharedId": node["sharedId"]}
        await browser.ask("input.setFiles", **tab, element=element, files=[str(picture.resolve())])
        async with asyncio.timeout(ANSWER_SECONDS):
            while " ms" not in (said := await _said(browser, tab)):
                await asyncio.sleep(PAUSE)
        if screenshot:
            shot = await browser.ask("browsingContext.captureScreenshot", **tab)
            screenshot.write_bytes(base64.b64decode(shot["data"]))
        # Firefox shows its own symbols by fonts of its own.
        outside = [url for url in browser.requests if not url.startswith(("data:", "blob:", where))]
        print(f"{about['capabilities']['browserName']} {about['capabilities']['browserVersion']}")
        print(said)
        print(f"console: {browser.console or 'nothing'}; requests: {outside or 'none'}")
        return not (browser.console or outside)


async def _said(browser: Firefox, tab: dict[str, str]) -> str:
    found = await browser.ask("script.evaluate", expression=SAYS, target=tab, awaitPromise=False)
    return str(found["result"]["value"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--screenshot", type=Path)
    given = parser.parse_args()
    sys.exit(not asyncio.run(answer(given.page, given.picture, given.screenshot)))


if __name__ == "__main__":
    main()
