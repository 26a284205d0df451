"""What the tests of polling, retrying and pacing share: replies to a poll, and when each came."""

import asyncio
from collections.abc import Awaitable, Coroutine
from itertools import pairwise
from typing import Any, Final, TypeVar

import pytest
from attrs import define, field
from fault_server import FaultServer, Received, Reply
from faults import json_reply

from smspartner_async import PollEvent, PollingPolicy, SMSPartnerClient, SMSPartnerError

_T = TypeVar("_T")

KEY: Final = "k-0123456789"
TOKEN: Final = "tok-1"


def said(state: object) -> Reply:
    """The vendor's answer to a poll: a code, or a sentence of its manual."""
    return json_reply({"success": True, "token": TOKEN, "status": state})


RENTED: Final = json_reply({"success": True, "token": TOKEN})
REQUESTED: Final = said(0)
GENERATING: Final = said(1)
READY: Final = said(2)
READY_BODY: Final = b'{"success": true, "token": "tok-1", "status": 2}'


def client_of(server: FaultServer, **options: Any) -> SMSPartnerClient:
    return SMSPartnerClient(KEY, base_url=server.base_url, **options)


def now() -> float:
    """The loop's time: virtual where the test is."""
    return asyncio.get_running_loop().time()


def gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


@define
class Script:
    """Replies in turn, the last one for ever; `times` has when each request came.

    The first request is at 0: it comes at once, as other tests prove.
    """

    replies: list[Reply]
    _moments: list[float] = field(factory=list)

    @classmethod
    def of(cls, *replies: Reply) -> "Script":
        return cls(list(replies))

    def __call__(self, _: Received) -> Reply:
        self._moments.append(now())
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    @property
    def times(self) -> list[float]:
        return [moment - self._moments[0] for moment in self._moments]

    @property
    def count(self) -> int:
        return len(self._moments)

    @property
    def gaps(self) -> list[float]:
        return gaps(self._moments)


@define
class Heard:
    """An on_poll that keeps its events."""

    events: list[PollEvent] = field(factory=list)

    def __call__(self, event: PollEvent) -> None:
        self.events.append(event)

    @property
    def delays(self) -> list[float | None]:
        return [event.next_delay for event in self.events]


@define
class Log:
    """Answers any request well, and records what came when; `limits` are its first answers."""

    limits: list[Reply] = field(factory=list)
    _arrivals: list[tuple[float, Received]] = field(factory=list)

    def __call__(self, received: Received) -> Reply:
        self._arrivals.append((now(), received))
        if self.limits:
            return self.limits.pop(0)
        return RENTED if received.operation == "rent" else GENERATING

    @property
    def times(self) -> list[float]:
        return [moment for moment, _ in self._arrivals]

    @property
    def names(self) -> list[str]:
        """The token asked about; for a rent, that."""
        return [
            "rent" if got.operation == "rent" else got.target.rpartition("token=")[2]
            for _, got in self._arrivals
        ]


def start(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(call)


async def in_time(work: Awaitable[_T], promise: str) -> _T:
    """Wait for work that a promise bounds; where it does not end, fail with the promise, far later.

    The time is the loop's: none at all passes where that is virtual.
    """
    scope = asyncio.timeout(120)
    try:
        async with scope:
            return await work
    except TimeoutError:
        if not scope.expired():  # the work's own
            raise
    pytest.fail(f"It did not end: {promise}", pytrace=False)


async def all_of(*tasks: asyncio.Task[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def strange_tasks() -> set[str]:
    """The names of what runs beside this test and its server: nothing ought to."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    coroutines = {task.get_coro().__qualname__ for task in others}  # type: ignore[union-attr] # never None here
    return {name for name in coroutines if not name.startswith(("FaultServer.", "_Link."))}


async def end_of_wait(
    script: Script, *, request_timeout: float = 30.0, **options: Any
) -> tuple[object, Heard]:
    """Wait with these options; what came of it, returned or raised, and what on_poll heard."""
    heard = Heard()
    async with (
        FaultServer(script) as server,
        client_of(
            server,
            polling=options.pop("policy", PollingPolicy()),
            request_timeout=request_timeout,
        ) as client,
    ):
        try:
            return await client.wait_until_ready(TOKEN, on_poll=heard, **options), heard
        except SMSPartnerError as error:
            return error, heard
