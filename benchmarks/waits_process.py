"""One measurement of many waits, in a process of its own so that its memory is its own.

Run by `many_waits`, with a `Task` as JSON in its first argument; tells a `Measured` as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
from array import array
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import aiohttp
from attrs import Factory, asdict, define, frozen

from smspartner_async import PollingPolicy, SMSPartnerClient, SMSPartnerError, WaitTimeoutError

from .peers import KEY
from .server import STATUS_PATH
from .stats import percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspartner_async import PollEvent

_TICK: Final = 0.01
_CHUNK: Final = 100
KEPT: Final = 0.05
_CONNECTIONS: Final = 100


@frozen
class Task:
    """What to measure."""

    who: str
    base: str
    waits: int
    interval: float
    """Mean seconds between two polls of one wait."""
    window: float
    """Seconds of measuring, once every wait has asked."""
    deadlines: int
    """More waits that come in the window, with deadlines in it."""
    start_patience: float
    """Seconds after which those that have not asked yet are counted as such."""
    close_patience: float
    """Seconds after which those that `close()` has not ended are counted as such."""


@define(kw_only=True)
class Measured:
    """What was measured."""

    waits: int = 0
    bytes_each: float | None = None
    start_seconds: float = 0.0
    never_asked: int = 0
    """How many had not asked once when the patience of the start was over."""
    start_lag: list[float] = Factory(list)
    """Seconds by which a 10 ms tick was late: p50, p99, the longest."""
    lag: list[float] = Factory(list)
    polls_per_second: float = 0.0
    poll_late: list[float] = Factory(list)
    """Seconds by which a poll came later than announced, its answer included: p50, p99, most."""
    most_connections: int = 0
    deadlines: int = 0
    deadlines_kept: int = 0
    latest_end: float = 0.0
    """Seconds by which a wait ran over its deadline at most."""
    close_seconds: float = 0.0
    left_after_close: int = 0
    ends: dict[str, int] = Factory(dict)
    """How many waits ended by which error, after `close()`."""
    unclear_ends: int = 0
    """How many of them by an error that is not the client's own."""


class Ticker:
    """Looks every 10 ms how late it is: what everything else on the loop would suffer."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            self._lags.append(loop.time() - due)

    def take(self) -> list[float]:
        """Tell p50, p99 and the longest lag since the last time."""
        lags, self._lags = self._lags, []
        return _three(lags)

    def stop(self) -> None:
        """End it."""
        self._task.cancel()


class Book:
    """When each wait was last heard of, and when it said that it would ask again."""

    def __init__(self, waits: int) -> None:
        self._due = array("d", bytes(8 * waits))
        self.unheard = waits
        self.all_heard = asyncio.Event()
        self.polls = 0
        self.late: list[float] = []

    def hear(self, number: int, next_delay: float) -> None:
        """Take note of a poll; numbers beyond the first waits are counted only."""
        self.polls += 1
        if number >= len(self._due):
            return
        now = asyncio.get_running_loop().time()
        if self._due[number]:
            self.late.append(now - self._due[number])
        else:
            self.unheard -= 1
            if not self.unheard:
                self.all_heard.set()
        self._due[number] = now + next_delay


class ThisClient:
    """The client's own waits."""

    def __init__(self, task: Task, book: Book) -> None:
        self._book = book
        policy = PollingPolicy(first_interval=task.interval, max_interval=task.interval, jitter=1.0)
        self._client = SMSPartnerClient(KEY, base_url=f"{task.base}/v1", polling=policy)
        self.ask: Callable[[str], Awaitable[object]] = self._client.status

    def _hear(self, event: PollEvent) -> None:
        self._book.hear(int(event.token), event.next_delay or 0.0)

    async def wait(self, number: int, timeout: float) -> None:  # noqa: ASYNC109 - measured
        """Wait for a rental that is never ready."""
        await self._client.wait_until_ready(str(number), timeout=timeout, on_poll=self._hear)

    async def close(self) -> None:
        """Close the client; its waits should end."""
        await self._client.close()


class BareLoop:
    """The plainest loop over aiohttp, for comparison: nothing but ask and sleep."""

    def __init__(self, task: Task, book: Book) -> None:
        self._book, self._interval = book, task.interval
        self._url = task.base + STATUS_PATH
        self._session = aiohttp.ClientSession()
        self._waiting: set[asyncio.Task[None]] = set()

    async def ask(self, token: str) -> object:
        """Ask once."""
        params = {"apiKey": KEY, "token": token}
        async with self._session.get(self._url, params=params) as reply:
            return json.loads(await reply.read())

    async def wait(self, number: int, timeout: float) -> None:  # noqa: ASYNC109 - measured
        """Ask until the time is over."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - told to the type checker
        self._waiting.add(task)
        async with asyncio.timeout(timeout):
            while True:
                await self.ask(str(number))
                delay = random.uniform(0, 2 * self._interval)  # noqa: S311 - jitter
                self._book.hear(number, delay)
                await asyncio.sleep(delay)

    async def close(self) -> None:
        """End all loops."""
        for task in self._waiting:
            task.cancel()
        await self._session.close()


def _three(values: list[float]) -> list[float]:
    return [percentile(values, 0.5), percentile(values, 0.99), max(values, default=0.0)]


def resident_bytes() -> int | None:
    """Tell the memory that the process has in RAM; `None` where the system does not say so."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * 4096


async def measure(task: Task) -> Measured:
    """Start the waits, look on, then close."""
    loop = asyncio.get_running_loop()
    dice = random.Random(1)  # noqa: S311 - repeats a run
    book = Book(task.waits)
    who = BareLoop(task, book) if task.who == "bare" else ThisClient(task, book)
    await asyncio.gather(*(who.ask(str(number)) for number in range(2 * _CONNECTIONS)))
    gc.collect()
    before = resident_bytes()
    ticker = Ticker()
    measured = Measured(waits=task.waits, deadlines=task.deadlines)

    started = loop.time()
    waits = []
    for number in range(task.waits):
        waits.append(asyncio.create_task(who.wait(number, dice.uniform(300, 900))))
        if number % _CHUNK == _CHUNK - 1:
            await asyncio.sleep(0)  # as anyone would who starts many
            if loop.time() > started + task.start_patience:
                break
    try:
        async with asyncio.timeout_at(started + task.start_patience):
            await book.all_heard.wait()
    except TimeoutError:
        measured.never_asked = book.unheard
    measured.start_seconds = loop.time() - started
    gc.collect()
    after = resident_bytes()
    if before is not None and after is not None:
        measured.bytes_each = (after - before) / len(waits)

    await asyncio.sleep(_TICK)
    measured.start_lag = ticker.take()
    book.late.clear()
    polls, began = book.polls, loop.time()
    ends = [
        asyncio.create_task(_overrun(who, task.waits + number, task, dice))
        for number in range(task.deadlines)
    ]
    await asyncio.sleep(task.window)
    measured.polls_per_second = (book.polls - polls) / (loop.time() - began)
    measured.lag = ticker.take()
    measured.poll_late = _three(book.late)
    ticker.stop()
    ended = await asyncio.gather(*ends)
    # The client keeps the last twentieth for a last look, so it may end that much earlier.
    measured.deadlines_kept = sum(abs(over) <= KEPT * limit + 0.001 for limit, over in ended)
    measured.latest_end = max((over for _, over in ended), default=0.0)
    await _close(who, waits, task, measured)
    async with aiohttp.ClientSession() as session, session.get(f"{task.base}/counts") as reply:
        measured.most_connections = json.loads(await reply.read())["most_connections"]
    return measured


async def _overrun(
    who: ThisClient | BareLoop, number: int, task: Task, dice: random.Random
) -> tuple[float, float]:
    """Begin in the first half of the window, end by its end; tell timeout and overrun, seconds."""
    loop = asyncio.get_running_loop()
    limit = dice.uniform(task.window / 4, task.window / 2)
    await asyncio.sleep(dice.uniform(0, task.window / 2))
    started = loop.time()
    with suppress(WaitTimeoutError, TimeoutError):
        await who.wait(number, limit)
    return limit, loop.time() - started - limit


async def _close(
    who: ThisClient | BareLoop, waits: list[asyncio.Task[None]], task: Task, measured: Measured
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # nobody asks those that end too late
    started = loop.time()
    await who.close()
    done, left = await asyncio.wait(waits, timeout=task.close_patience)
    measured.close_seconds = loop.time() - started
    measured.left_after_close = len(left)
    names: Counter[str] = Counter()
    for wait in done:
        error = asyncio.CancelledError() if wait.cancelled() else wait.exception()
        if error is not None and not isinstance(error, SMSPartnerError):
            measured.unclear_ends += 1
        names[type(error).__name__ if error is not None else "ready"] += 1
    measured.ends = dict(names)


async def _main() -> NoReturn:
    measured = await measure(Task(**json.loads(sys.argv[1])))
    json.dump(asdict(measured), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # and with it whatever is left, which would take its time to end one by one


if __name__ == "__main__":
    asyncio.run(_main())
