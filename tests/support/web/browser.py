"""A headless Chromium, driven over the W3C WebDriver protocol that Debian's chromedriver speaks."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_SWITCHES = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no Chromium to drive: Debian's packages chromium and chromium-driver are not installed",
)


@frozen
class Browser:
    """One browser window with tabs; commands go to the tab that was opened or shown last."""

    _driver: aiohttp.ClientSession
    _session: str

    async def open_tab(self, url: str) -> str:
        """Open a page in a new tab."""
        tab = (await self._do("POST", "window/new", type="tab"))["handle"]
        await self.show(tab)
        await self._do("POST", "url", url=url)
        return str(tab)

    async def show(self, tab: str) -> None:
        await self._do("POST", "window", handle=tab)

    async def close_tab(self, tab: str) -> None:
        await self.show(tab)
        await self._do("DELETE", "window")

    async def run(self, script: str) -> Any:
        """Run JavaScript in the tab, and return what it returns."""
        return await self._do("POST", "execute/sync", script=script, args=[])

    async def shows(self, tab: str, text: str) -> None:
        """Wait until the status on a tab's page holds this text."""
        await self.show(tab)
        found = ""
        for _ in range(600):
            found = await self.run("return document.querySelector('[role=status]').textContent")
            if text in found:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the page shows {found!r}, not {text!r}")

    async def _do(self, method: str, command: str, **arguments: Any) -> Any:
        path = f"/session/{self._session}/{command}"
        body = arguments if method == "POST" else None
        async with self._driver.request(method, path, json=body) as reply:
            return _value(await reply.json())


def _value(answer: Any) -> Any:
    value = answer["value"]
    assert not (isinstance(value, dict) and "error" in value), value
    return value


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """Start a browser with an empty profile; end it and its driver."""
    driver = await asyncio.create_subprocess_exec(
        "chromedriver", "--port=0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        assert driver.stdout is not None
        port = None
        async for line in driver.stdout:
            if port := re.search(rb"started successfully on port (\d+)", line):
                break
        assert port, "chromedriver does not listen"
        async with aiohttp.ClientSession(f"http://127.0.0.1:{int(port[1])}") as session:
            options = {
                "binary": shutil.which("chromium"),
                "args": [*_SWITCHES, f"--user-data-dir={profile}"],
            }
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            async with session.post("/session", json=wanted) as reply:
                started = _value(await reply.json())
            try:
                yield Browser(session, started["sessionId"])
            finally:
                async with session.delete(f"/session/{started['sessionId']}"):
                    pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            driver.terminate()
        await driver.communicate()
