"""Arguments of the wrong kind are refused at once, before anything is sent and money is spent."""

from __future__ import annotations

import asyncio
import functools
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import aiohttp
import pytest
from fault_server import FaultServer
from opentelemetry.sdk.trace import TracerProvider
from polls import READY
from renting import TARGETING

from smspartner_async import RetryPolicy, SMSPartnerClient
from smspartner_async._validation import check_callback, check_type, check_whole, checked_path
from smspartner_async.batch import RentalJob, run_batch
from smspartner_async.durable import Store
from smspartner_async.otel import traced
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

JOB = RentalJob(id="1", targeting=TARGETING, path="1.csv")


def plain(_: object) -> None: ...


async def asynchronous(_: object) -> None: ...


class Recorder:
    """Something that can be called, and has a method that can."""

    def method(self, _: object) -> None: ...

    def __call__(self, _: object) -> None: ...


@pytest.mark.parametrize(
    "callback",
    [
        None,
        plain,
        asynchronous,
        [].append,
        print,
        Recorder().method,
        Recorder(),
        functools.partial(max, 1),
        Mock(),
        AsyncMock(),
        lambda *_: None,
        lambda _, more=1: more,
        *(max, deque().append),  # which have no signature
    ],
)
def test_callbacks(callback: object) -> None:
    """A callback is whatever can be called with the one thing that it is called with."""
    check_callback("on_rented", callback, "a Rental")


async def started(_: object) -> AsyncIterator[int]:
    yield 1


def generated(_: object) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("tokens.txt", "not str."),
        (5, "not int."),
        (asyncio.Future.__new__(asyncio.Future), "without calling it"),
        (lambda: None, "too many positional arguments"),
        (lambda _, more: more, "missing a required argument: 'more'"),
        (lambda *, rental: rental, "too many positional arguments"),
        (started, "does not `yield`"),
        (generated, "does not `yield`"),
        (dict, "dict is a class"),
    ],
)
def test_what_cannot_be_called_back(callback: object, words: str) -> None:
    """What would fail after a rent was paid, or never run, is a TypeError that says so."""
    with pytest.raises(TypeError, match=re.escape(words)) as caught:
        check_callback("on_rented", callback, "a Rental")
    assert "on_rented must be a function (plain or async) that takes a Rental" in str(caught.value)


def test_types() -> None:
    """A value of another type, or the type itself, is named but not shown: it may be a key."""
    check_type("session", "text", str)
    with pytest.raises(TypeError, match=r"^session must be of type int, not str\. Pass 5\.$"):
        check_type("session", "secret", int, hint="Pass 5.")
    with pytest.raises(TypeError, match="not the class Sandbox itself"):
        check_type("session", Sandbox, int)
    with pytest.raises(TypeError, match="not None"):
        check_type("session", None, int)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "5", None])
def test_what_is_no_whole_number(number: object) -> None:
    """A count is a whole number from 1 on."""
    with pytest.raises(ValueError, match="concurrency must be a whole number from 1 on"):
        check_whole("concurrency", number)


@pytest.mark.parametrize("path", ["a.csv", Path("a.csv")])
def test_paths(path: object) -> None:
    """A path is text, or path-like."""
    assert checked_path("path", path) == Path("a.csv")


@pytest.mark.parametrize("path", [5, None, b"a.csv", ["a.csv"]])
def test_what_is_no_path(path: object) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match=r"path must be a path: text or a pathlib\.Path, not"):
        checked_path("path", path)


def test_a_path_with_a_nul() -> None:
    """No system takes it: it is refused at once, and not when the file is written."""
    with pytest.raises(ValueError, match="path must be a path without a NUL character"):
        checked_path("path", "a\0b")


def test_an_empty_path() -> None:
    """It would stand for the working directory."""
    with pytest.raises(ValueError, match=r"^path must be a path, not empty text\.$"):
        checked_path("path", "")


async def asleep(_: object) -> None:
    """Nothing would await it."""


CLIENTS: list[tuple[str, dict[str, Any]]] = [
    ("base_url", {"base_url": 5}),
    ("session", {"session": "x"}),
    ("session", {"session": aiohttp.ClientSession}),
    ("request_timeout", {"request_timeout": "5"}),
    ("retry", {"retry": None}),
    ("retry", {"retry": 3}),
    ("retry", {"retry": RetryPolicy}),
    ("polling", {"polling": 5}),
    ("polling", {"polling": RetryPolicy()}),
    ("max_requests_per_minute", {"max_requests_per_minute": "300"}),
    ("max_connections", {"max_connections": 1.5}),
    ("ssl", {"ssl": False}),
    ("proxy", {"proxy": 5}),
    ("on_exchange", {"on_exchange": 5}),
    ("on_exchange", {"on_exchange": lambda: None}),
    ("on_exchange", {"on_exchange": asleep}),
]


@pytest.mark.parametrize(("name", "options"), CLIENTS)
def test_a_client_is_not_made_of_what_would_fail_later(name: str, options: dict[str, Any]) -> None:
    """Before money: each option of another kind is named when the client is made."""
    with pytest.raises((TypeError, ValueError), match=f"^{name} must "):
        SMSPartnerClient("key", **{"base_url": "http://127.0.0.1:1", **options})


@pytest.mark.parametrize("name", ["session", "ssl", "on_exchange"])
def test_neither_is_one_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before money: `from_env` refuses as the constructor does."""
    monkeypatch.setenv("SMSPARTNER_API_KEY", "key")
    with pytest.raises(TypeError, match=f"^{name} must be"):
        SMSPartnerClient.from_env(**{name: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"retry": 0}, {"polling": 5}, {"on_exchange": "x"}], ids=str)
def test_no_copy_is_made_of_what_would_fail_later(options: dict[str, Any]) -> None:
    """Before money: for `with_options`, `None` alone means "as it is"."""
    (name,) = options
    with pytest.raises(TypeError, match=f"^{name} must be"):
        client().with_options(**options)
    client().with_options(**dict.fromkeys(options))


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("targeting", lambda it: it.calculate({"gender": "mixed"})),
    ("targeting", lambda it: it.price({"gender": "mixed"})),
    ("targeting", lambda it: it.rent({"gender": "mixed"})),
    ("targeting", lambda it: it.rent(None, max_total=5)),
    ("volumes", lambda it: it.rent(TARGETING, 20)),
    ("max_total", lambda it: it.rent(TARGETING, max_total=1.5)),
    ("on_rented", lambda it: it.rent(TARGETING, on_rented="tokens.txt")),
    ("on_rented", lambda it: it.rent(TARGETING, max_total=5, on_rented=lambda: None)),
    ("on_rented", lambda it: it.rent(TARGETING, on_rented=started)),
    ("on_rented", lambda it: traced(it).rent(TARGETING, on_rented="tokens.txt")),  # type: ignore[arg-type]
    ("token", lambda it: it.status(5)),
    ("token", lambda it: it.wait_until_ready(None)),
    ("timeout", lambda it: it.wait_until_ready("tok-1", timeout="5")),
    ("on_poll", lambda it: it.wait_until_ready("tok-1", on_poll=5)),
    ("on_poll", lambda it: traced(it).wait_until_ready("tok-1", on_poll=5)),  # type: ignore[arg-type]
    ("path", lambda it: it.download("tok-1", 5)),
    ("path", lambda it: it.download("tok-1", "a\0b")),
    ("overwrite", lambda it: it.download("tok-1", "1.csv", overwrite="no")),
    ("on_progress", lambda it: it.download("tok-1", "1.csv", on_progress=lambda _: None)),
]


@pytest.mark.parametrize(("name", "call"), CALLS)
async def test_a_call_refuses_before_it_sends(name: str, call: Callable[[Any], Any]) -> None:
    """Before money: an argument of another kind is named, and nothing is sent for it."""
    async with FaultServer(default=READY) as server, client(server.base_url) as usual:
        with pytest.raises((TypeError, ValueError), match=f"{name}:? must "):
            await call(usual)
        assert server.received == []


CONSTRUCTORS: list[tuple[str, Callable[[], object]]] = [
    ("targeting", lambda: RentalJob(id="1", targeting={"gender": "mixed"}, path="1.csv")),  # type: ignore[arg-type]
    ("path", lambda: RentalJob(id="1", targeting=TARGETING, path=5)),  # type: ignore[arg-type]
    ("path", lambda: RentalJob(id="1", targeting=TARGETING, path="a\0b")),
    ("max_total", lambda: RentalJob(id="1", targeting=TARGETING, path="1", max_total=1.5)),  # type: ignore[arg-type]
    ("client", lambda: traced("key")),  # type: ignore[arg-type]
    ("client", lambda: traced(SMSPartnerClient)),  # type: ignore[arg-type]
    ("tracer_provider", lambda: traced(client(), tracer_provider=TracerProvider)),  # type: ignore[arg-type]
    ("meter_provider", lambda: traced(client(), meter_provider=TracerProvider())),  # type: ignore[arg-type]
    ("balance", lambda: Sandbox(balance=5)),  # type: ignore[arg-type]
    ("speed", lambda: Sandbox(speed="fast")),  # type: ignore[arg-type]
    ("api_key", lambda: Sandbox(api_key=5)),  # type: ignore[arg-type]
    ("host", lambda: Sandbox(host=None)),  # type: ignore[arg-type]
    ("port", lambda: Sandbox(port="80")),  # type: ignore[arg-type]
    ("fail_every", lambda: Sandbox(fail_every=1.5)),  # type: ignore[arg-type]
    ("url", lambda: Store(5)),  # type: ignore[arg-type]
    ("url", lambda: Store(Path("jobs.db"))),  # type: ignore[arg-type]
]


def client(base_url: str = "http://127.0.0.1:1") -> SMSPartnerClient:
    return SMSPartnerClient("key", base_url=base_url)


@pytest.mark.parametrize(("name", "make"), CONSTRUCTORS)
def test_constructors_refuse_at_once(name: str, make: Callable[[], object]) -> None:
    """Before money: an argument of another kind is named when it is given, not when used."""
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        make()


BATCHES: list[tuple[str, dict[str, Any]]] = [
    ("client", {"client": "key"}),
    ("client", {"client": SMSPartnerClient}),
    ("jobs", {"jobs": JOB}),
    ("each of the jobs", {"jobs": [{"id": "1"}]}),
    ("each of the jobs", {"jobs": "jobs.csv"}),
    ("on_event", {"on_event": "events.log"}),
    ("on_event", {"on_event": lambda: None}),
    ("concurrency", {"concurrency": "10"}),
    ("stop_on_unknown", {"stop_on_unknown": "no"}),
    ("paid", {"paid": ["token"]}),
    ("token", {"paid": {"1": None}}),
    ("The token", {"paid": {"1": " "}}),
]


@pytest.mark.parametrize(("name", "options"), BATCHES)
async def test_a_batch_refuses_at_once(name: str, options: dict[str, Any]) -> None:
    """Before money: `run_batch` names what is wrong when it is called, and sends nothing."""
    async with FaultServer(default=READY) as server, client(server.base_url) as usual:
        with pytest.raises((TypeError, ValueError), match=f"^{name} "):
            run_batch(**{"client": usual, "jobs": [JOB], **options})
        assert server.received == []


WORKERS: list[tuple[str, dict[str, Any]]] = [
    ("client", {"client": "key"}),
    ("worker_id", {"worker_id": 5}),
    ("journal", {"journal": 5}),
    ("concurrency", {"concurrency": 1.5}),
    ("take_over_after", {"take_over_after": 0}),
    ("max_requests_per_minute", {"max_requests_per_minute": 0}),
]


@pytest.mark.parametrize(("name", "options"), WORKERS)
async def test_a_worker_refuses_at_once(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Before money: `Store.worker` names what is wrong before it takes a job."""
    async with (
        FaultServer(default=READY) as server,
        client(server.base_url) as usual,
        Store(f"sqlite:///{tmp_path}/jobs.db") as store,
    ):
        await store.submit([JOB])
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
            async with store.worker(**{"client": usual, **options}):
                raise AssertionError("it works")
        assert server.received == []


async def test_a_watch_refuses_at_once(tmp_path: Path) -> None:
    """Two looks at a store that are no time apart would never let the loop rest."""
    async with Store(f"sqlite:///{tmp_path}/jobs.db") as store:
        await store.submit([JOB])
        with pytest.raises(ValueError, match="interval must be a number above 0"):
            await anext(store.watch(interval=0))
