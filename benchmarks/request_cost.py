"""What one request costs: CPU time of the client's process, and wall time.

All take turns in one process and one run, in many short rounds and in an order that changes, so
that whatever disturbs the machine disturbs all alike; each round is compared with bare aiohttp in
the same round.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import aiohttp
from attrs import Factory, define, field, frozen

from . import plots
from .peers import BARE, ENTRIES, OURS, PAUSE
from .report import Section, Table, Verdict, version_of
from .server import running_server
from .stats import TIMES, TO, Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .peers import Contender, Entry
    from .report import Options

    Work = Callable[[], Awaitable[object]]

_TOKENS: Final = tuple(f"rental-{number:06}" for number in range(1000))
_REQUEST_TARGET: Final = 1.15
_POLL_TARGET: Final = 1.5
_POLLS: Final = 51


@frozen
class Size:
    """How much is measured."""

    rounds: int
    requests: int


_FULL: Final = Size(rounds=80, requests=100)
_QUICK: Final = Size(rounds=6, requests=30)


@define
class Line:
    """One line of the comparison, and what each round measured: seconds for one request."""

    entry: Entry
    name: str
    requests: int
    ready: Callable[[int], Awaitable[Work]] | None
    """Makes the work of a round ready, outside of what is measured; `None`: not installed."""
    cpu: list[float] = field(factory=list, init=False)
    wall: list[float] = field(factory=list, init=False)

    async def play(self, turn: int) -> None:
        """Measure one round."""
        if self.ready is None:
            return
        work = await self.ready(turn)
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        self.cpu.append((time.process_time() - cpu) / self.requests)
        self.wall.append((time.perf_counter() - wall) / self.requests)


@define
class Costs:
    """Single requests, and polls within a wait."""

    requests: list[Line] = Factory(list)
    polls: list[Line] = Factory(list)


def _asking(contender: Contender, requests: int) -> Callable[[int], Awaitable[Work]]:
    async def ready(turn: int) -> Work:
        first = turn * requests
        tokens = [_TOKENS[place % len(_TOKENS)] for place in range(first, first + requests)]

        async def work() -> None:
            for token in tokens:
                await contender.ask(token)

        return work

    return ready


def _waiting(contender: Contender, name: str) -> Callable[[int], Awaitable[Work]]:
    async def ready(turn: int) -> Work:
        assert contender.prepare is not None  # noqa: S101 - for the type checker
        # Ready at the last of so many polls.
        return await contender.prepare(f"polls-{_POLLS - 1}-{turn}-{name}", _POLLS)

    return ready


async def _measure(base: str, size: Size) -> Costs:
    costs = Costs()
    async with AsyncExitStack() as stack:
        for number, entry in enumerate(ENTRIES):
            try:
                contender = await stack.enter_async_context(entry.open(base))
            except ImportError:
                contender = None
            asking = _asking(contender, size.requests) if contender else None
            costs.requests.append(Line(entry, entry.name, size.requests, asking))
            if entry.waiting:
                waiting = _waiting(contender, f"{number}") if contender else None
                costs.polls.append(Line(entry, entry.waiting, _POLLS, waiting))
        lines = [*costs.requests, *costs.polls]
        await _rehearse(base, lines)
        gc.collect()
        gc.freeze()  # the modules that a peer has brought along burden no other
        order = random.Random(1)  # noqa: S311 - repeats a run
        try:
            for turn in range(size.rounds):
                order.shuffle(lines)
                for line in lines:
                    await line.play(turn)
        finally:
            gc.unfreeze()
    return costs


async def _rehearse(base: str, lines: list[Line]) -> None:
    """Warm all up, and see that each of them makes exactly the requests that it is measured by."""
    async with aiohttp.ClientSession() as session:

        async def asked() -> int:
            async with session.get(f"{base}/counts") as reply:
                return int(json.loads(await reply.read())["requests"])

        for line in lines:
            if line.ready is None:
                continue
            work = await line.ready(-1)
            before = await asked()
            await work()
            made = await asked() - before
            if made != line.requests:
                raise RuntimeError(f"{line.name}: {made} requests in place of {line.requests}")


def run(options: Options) -> Section:
    """Measure, and report."""
    size = _QUICK if options.quick else _FULL
    with running_server() as base:
        costs = asyncio.run(_measure(base, size))
    single, polling = _base(costs.requests), _base(costs.polls)
    plots.request_cost(
        options.out / "requests.svg",
        "CPU time of one request (bare aiohttp = 1)",
        [(line.name, ratios(line.cpu, single.cpu)) for line in _present(costs.requests)],
    )
    plots.request_cost(
        options.out / "polls.svg",
        "CPU time of one poll inside a wait (bare aiohttp = 1)",
        [(line.name, ratios(line.cpu, polling.cpu)) for line in _present(costs.polls)],
    )
    return Section(
        title="Requests",
        text=(
            f"{size.rounds} rounds; in each, everyone makes {size.requests} requests one after the "
            f"other over a kept connection, of {len(_TOKENS)} rentals in turn, and waits for a "
            f"rental that is ready at poll {_POLLS}, {PAUSE * 1000:g} ms apart. Medians with "
            f"p10{TO}p90 of the rounds. {TIMES} is the ratio to bare aiohttp (`session.get(url, "
            "params=…)` and "
            "`json.loads(await r.read())`) in the same round. CPU time is that of the client's "
            "process alone; the server runs in another. “bare aiohttp, again” shows how far two "
            "equals lie apart. This client runs with everything on: typed model, size limit, "
            "timeout, retry, redaction, an `on_poll` that is called for each poll. A status is "
            "read as far as it is looked at: its state in “this client”, all of it in “all of it "
            "read”."
        ),
        tables=(
            _table("One request", costs.requests, single),
            _table("One poll inside a wait", costs.polls, polling),
        ),
        plots=(
            ("requests.svg", "CPU time of one request, by client"),
            ("polls.svg", "CPU time of one poll inside a wait, by client"),
        ),
        verdicts=(
            _verdict("CPU of `status()` against bare aiohttp", costs.requests, _REQUEST_TARGET),
            _verdict(
                "CPU of one poll in `wait_until_ready` against bare aiohttp",
                costs.polls,
                _POLL_TARGET,
            ),
        ),
    )


def _base(lines: list[Line]) -> Line:
    return next(line for line in lines if line.entry.name == BARE)


def _present(lines: list[Line]) -> list[Line]:
    """Those that were measured, the cheapest first."""
    present = [line for line in lines if line.ready is not None]
    return sorted(present, key=lambda line: Spread.of(line.cpu).median)


def _table(title: str, lines: list[Line], base: Line) -> Table:
    rows = [
        (
            line.name,
            version_of(*line.entry.packages),
            ratios(line.cpu, base.cpu).text(),
            ratios(line.wall, base.wall).text(),
            Spread.of(line.cpu).text(".0f", 1e6),
            Spread.of(line.wall).text(".0f", 1e6),
        )
        for line in _present(lines)
    ]
    rows += [(line.name, "not installed", TO, TO, TO, TO) for line in lines if line.ready is None]
    columns = ("", "version", f"CPU {TIMES}", f"wall {TIMES}", "CPU µs", "wall µs")
    return Table(title, columns, tuple(rows))


def _verdict(promise: str, lines: list[Line], target: float) -> Verdict:
    ours = next(line for line in lines if line.entry.name == OURS)
    measured = ratios(ours.cpu, _base(lines).cpu)
    return Verdict(
        promise, f"≤ {target} {TIMES}", f"{measured.text()} {TIMES}", measured.median <= target
    )
