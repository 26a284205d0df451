"""README's page in a real browser, served by README's services."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from browser import chromium, needs_chromium
from renting import now
from services import KEY, until

from smspartner_async import PollingPolicy
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from services import Service

    Start = Callable[..., AbstractAsyncContextManager[Service]]

INTERVAL = 0.1
STEADY = PollingPolicy(first_interval=INTERVAL, max_interval=INTERVAL, jitter=0)


async def one_an_interval(sandbox: Sandbox, polls: dict[int, float]) -> bool:
    """Wait for six more polls; return whether they came one an interval, as the sandbox saw them.

    Each poll follows its forerunner's reply by an interval, so no load can bring them together.
    But once: whoever closes a tab breaks off the poll under way, and the other asks anew.
    """
    first = sandbox.requests["status"] + 1
    await until(lambda: first + 5 in polls)
    times = [polls[number] for number in range(first, first + 6)]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    return gaps[1] >= 0.9 * INTERVAL


@needs_chromium
async def test_two_tabs_follow_a_rental_and_one_that_closes_leaves_the_other(
    start: Start, tmp_path: Path
) -> None:
    """Two tabs follow a rental, at one poll an interval; the second one sees it ready."""
    async with (
        Sandbox(api_key=KEY) as sandbox,
        start(sandbox.base_url, STEADY) as service,
        chromium(tmp_path / "profile") as browser,
    ):
        age, polls = 0.0, dict[int, float]()

        def clock() -> float:  # a browser under load takes its time: the rental waits for it
            polls.setdefault(sandbox.requests["status"], now())
            return age

        sandbox._now = clock
        page = f"{service.base_url}/pages/progress.html#{await service.token()}"
        first, second = await browser.open_tab(page), await browser.open_tab(page)
        await browser.shows(first, "requested")
        await browser.shows(second, "requested")
        assert await one_an_interval(sandbox, polls)
        age = 3.0
        await browser.shows(second, "generating")
        await browser.shows(first, "generating")
        await browser.close_tab(first)
        assert await one_an_interval(sandbox, polls)
        age = 9.0
        await browser.shows(second, "ready")
        asked = sandbox.requests["status"]
        assert await browser.run("return source.readyState") == 2  # closed: it does not come back
        await asyncio.sleep(5 * INTERVAL)
        assert sandbox.requests["status"] == asked


@needs_chromium
async def test_the_page_shows_a_problem_and_does_not_come_back(
    start: Start, tmp_path: Path
) -> None:
    """A rental that the vendor does not know is reported in words, and costs one poll."""
    async with (
        Sandbox(api_key=KEY) as sandbox,
        start(sandbox.base_url, STEADY) as service,
        chromium(tmp_path / "profile") as browser,
    ):
        tab = await browser.open_tab(f"{service.base_url}/pages/progress.html#no-such-token")
        await browser.shows(tab, "code 32")
        assert await browser.run("return source.readyState") == 2
        assert sandbox.requests["status"] == 1
