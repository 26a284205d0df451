"""What the fixtures do: a sandbox for each test, and a client on its event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from smspartner_async._client import SMSPartnerClient
from smspartner_async._policies import PollingPolicy, RetryPolicy
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

SPEED: Final = 100.0
"""How many times faster than at the vendor's a rental moves: it is ready after 80 ms."""

QUICK_POLLING: Final = PollingPolicy(first_interval=0.02, max_interval=0.05)
"""How `smspartner_client` waits. For your other clients, too: the usual policy waits for 2 s."""

QUICK_RETRY: Final = RetryPolicy(first_delay=0.01, max_delay=0.05)
"""How `smspartner_client` tries again."""


@attrs.frozen
class Account:
    """What a test has: an account at a sandbox, and a client where there is a loop for it."""

    sandbox: Sandbox
    _client: SMSPartnerClient | None = None

    @property
    def client(self) -> SMSPartnerClient:
        """The client; without one, the test fails."""
        if self._client is None:
            pytest.fail(
                "smspartner_client needs an `async def` test that pytest-asyncio (0.24 or newer) or"
                " anyio runs (is it marked?). Any other test can use smspartner_sandbox: whatever"
                " client the tested code makes from SMSPARTNER_BASE_URL and SMSPARTNER_API_KEY"
                " talks to it.",
                pytrace=False,
            )
        return self._client


@attrs.frozen
class Options:
    """What the marks of a test say; the closest one has the last word on each option."""

    sandbox: dict[str, Any]
    client: dict[str, Any]

    @classmethod
    def of(cls, test: pytest.Item, *, virtual_time: bool = False) -> Options:
        """Collect the marks of a test, its class and its module. Virtual time is not sped up."""
        pace = {} if virtual_time else {"speed": SPEED}
        haste = {} if virtual_time else {"polling": QUICK_POLLING, "retry": QUICK_RETRY}
        return cls(
            {**pace, **_marked(test, "smspartner_sandbox")},
            {**haste, **_marked(test, "smspartner_client")},
        )


def has_virtual_time(test: pytest.Item) -> bool:
    """Whether looptime makes the time of an async test fly, by its mark or its option."""
    option = test.config.getoption("looptime", None)
    mark = test.get_closest_marker("looptime")
    wanted = bool(option) if mark is None else not mark.args or bool(mark.args[0])
    return wanted and option is not False


def runner_of(request: pytest.FixtureRequest) -> str:
    """Say whose event loop the test runs on, by the end of a fixture's name."""
    test = request.node
    function = getattr(test, "obj", None)
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if not inspect.iscoroutinefunction(function):
        return "in_thread"
    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend")
        name = backend if isinstance(backend, str) else backend[0]
        if name != "asyncio":
            pytest.fail(
                f"smspartner_async runs on asyncio, not on {name}: let your fixture anyio_backend"
                " return 'asyncio'.",
                pytrace=False,
            )
        return "on_anyio"
    asyncio_mark = test.get_closest_marker("asyncio")
    if asyncio_mark is None or not request.config.pluginmanager.hasplugin("smspartner-asyncio"):
        return "in_thread"  # whoever runs it is not known here
    scope = asyncio_mark.kwargs.get("loop_scope") or asyncio_mark.kwargs.get("scope")
    if scope is None:
        with suppress(ValueError):  # before pytest-asyncio 0.26, which knows no such setting
            scope = request.config.getini("asyncio_default_test_loop_scope")
    return f"on_{scope or 'function'}_loop"


@asynccontextmanager
async def open_account(options: Options) -> AsyncIterator[Account]:
    """Open a sandbox and a client on the running loop."""
    async with Sandbox(**options.sandbox) as sandbox:
        settings = {"api_key": sandbox.api_key, "base_url": sandbox.base_url, **options.client}
        async with SMSPartnerClient(**settings) as client:
            yield Account(sandbox, client)


@contextmanager
def account_in_thread(options: Options) -> Iterator[Account]:
    """Open a sandbox on a separate loop, for tests that have none or block theirs."""
    sandbox = Sandbox(**options.sandbox)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="smspartner sandbox", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    try:
        run(sandbox.start())
        yield Account(sandbox)
    finally:
        run(sandbox.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _marked(test: pytest.Item, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed(list(test.iter_markers(name))):
        options.update(mark.kwargs)
    return options
