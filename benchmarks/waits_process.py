"""One measurement of many waits, in a separate process so that its memory is its own.

Run by `many_waits`, with a `Task` as JSON in its first argument; writes a `Measured` as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from array import array
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import aiohttp
from attrs import Factory, asdict, define, frozen
from tenacity import wait_random

from smspartner_async import PollingPolicy, SMSPartnerClient, SMSPartnerError, WaitTimeoutError

from .peers import KEY
from .server import STATUS_PATH
from .stats import percentile, weighted_percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspartner_async import PollEvent

_TICK: Final = 0.01
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
    common_deadline: float | None = None
    """Seconds; all waits end at this one deadline, and nothing but that is measured."""
    gc_threshold: tuple[int, int, int] | None = None
    """What `gc.set_threshold` is called with; by default nothing."""


@define(kw_only=True)
class Measured:
    """What was measured."""

    waits: int = 0
    bytes_each: float | None = None
    start_seconds: float = 0.0
    never_asked: int = 0
    """How many had not asked once when the patience of the start was over."""
    failed_checks: int = 0
    """How many first checks failed."""
    start_stalls: list[float] = Factory(list)
    """CPU seconds of turns of the loop while all start: the first above 10 ms, and the longest."""
    lag: list[float] = Factory(list)
    """Seconds by which a 10 ms tick is late: p50 and p99 of the time, and the longest.

    Of the time, not of the ticks: a stall of 2 s is one tick among hundreds, and a fifth of 10 s.
    """
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
        """Return p50 and p99 of the time, and the longest lag, since the last call."""
        lags, self._lags = self._lags, []
        spans = [lag + _TICK for lag in lags]
        shares = [weighted_percentile(lags, spans, share) for share in (0.5, 0.99)]
        return [*shares, max(lags, default=0.0)]

    def stop(self) -> None:
        """End it."""
        self._task.cancel()


class TimedLoop(asyncio.SelectorEventLoop):
    """Keeps the CPU time of its turns: what stalls everything else, whatever the machine does."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[float] = []

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]  # not in typeshed
        self.turns.append(time.thread_time() - began)

    def take(self) -> list[float]:
        """Return the first turn longer than a tick since the last call, and the longest one."""
        turns, self.turns = self.turns, []
        first = next((turn for turn in turns if turn > _TICK), 0.0)
        return [first, max(turns, default=0.0)]


class Book:
    """When each wait was last heard of, and when it announced its next poll for."""

    def __init__(self, waits: int) -> None:
        self._due = array("d", bytes(8 * waits))
        self.unheard = waits
        self.all_heard = asyncio.Event()
        self.polls = 0
        self.failed = 0
        self.late: list[float] = []

    def hear(self, number: int, next_delay: float, *, failed: bool = False) -> None:
        """Take note of a poll; numbers beyond the first waits are counted only."""
        self.polls += 1
        self.failed += failed
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
        policy = PollingPolicy(wait=wait_random(0, 2 * task.interval))
        self._client = SMSPartnerClient(KEY, base_url=f"{task.base}/v1", polling=policy)
        self.ask: Callable[[str], Awaitable[object]] = self._client.status

    def _hear(self, event: PollEvent) -> None:
        failed = event.error is not None and event.attempt == 1
        self._book.hear(int(event.token), event.next_delay or 0.0, failed=failed)

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
        assert task is not None  # noqa: S101 - for the type checker
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
    """Return the memory that the process has in RAM; `None` where the system does not say so."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * 4096


async def measure(task: Task) -> Measured:
    """Start all waits at once, look on, then close."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)  # noqa: S101 - for the type checker
    if task.gc_threshold is not None:
        gc.set_threshold(*task.gc_threshold)
    dice = random.Random(1)  # noqa: S311 - repeats a run
    book = Book(task.waits)
    who = BareLoop(task, book) if task.who == "bare" else ThisClient(task, book)
    await asyncio.gather(*(who.ask(str(number)) for number in range(2 * _CONNECTIONS)))
    gc.collect()
    before = resident_bytes()
    ticker = Ticker()
    measured = Measured(waits=task.waits, deadlines=task.deadlines)
    loop.take()
    if task.common_deadline is not None:
        measured.latest_end = await _end_together(who, task.waits, task.common_deadline)
        measured.start_stalls = loop.take()
        await who.close()
        return measured

    started = loop.time()
    # At once, as asyncio.gather starts them, which would not let those be counted that continue.
    waits = [
        asyncio.ensure_future(who.wait(number, dice.uniform(300, 900)))
        for number in range(task.waits)
    ]
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
    measured.start_stalls = loop.take()
    measured.failed_checks = book.failed
    ticker.take()
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
    # The client keeps the last twentieth for a last check, so it may end that much earlier.
    measured.deadlines_kept = sum(abs(over) <= KEPT * limit + 0.001 for limit, over in ended)
    measured.latest_end = max((over for _, over in ended), default=0.0)
    await _close(who, waits, task, measured)
    async with aiohttp.ClientSession() as session, session.get(f"{task.base}/counts") as reply:
        measured.most_connections = json.loads(await reply.read())["most_connections"]
    return measured


async def _end_together(who: ThisClient | BareLoop, waits: int, timeout: float) -> float:  # noqa: ASYNC109 - measured
    """Let all waits end at one deadline; return the seconds by which the last one is late."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout

    async def end(number: int) -> float:
        with suppress(WaitTimeoutError, TimeoutError):
            await who.wait(number, deadline - loop.time())
        return loop.time() - deadline

    return max(await asyncio.gather(*map(end, range(waits))))


async def _overrun(
    who: ThisClient | BareLoop, number: int, task: Task, dice: random.Random
) -> tuple[float, float]:
    """Begin in the first half of the window, end by its end; return timeout and overrun (s)."""
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
    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        runner.run(_main())
