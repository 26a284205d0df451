"""What all tests share."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox


def pytest_sessionstart() -> None:
    """Start without an event loop: looptime would leak the one that it finds."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own key and URL away from the tests."""
    monkeypatch.delenv("SMSPARTNER_API_KEY", raising=False)
    monkeypatch.delenv("SMSPARTNER_BASE_URL", raising=False)


@pytest.fixture
def sandbox(smspartner_sandbox: Sandbox) -> Sandbox:
    """The sandbox that users' tests have under a short name; a mark gives its options."""
    return smspartner_sandbox


@pytest.fixture
def client(smspartner_client: SMSPartnerClient) -> SMSPartnerClient:
    """The client that users' tests have, under a short name."""
    return smspartner_client


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A Postgres server on a unix socket; a test that needs one is skipped where there is none."""
    runs = pytest.importorskip("benchmarks.durable_runs")
    try:
        with runs.Postgres.running() as server:
            yield server
    except runs.PostgresMissingError as missing:
        pytest.skip(f"{missing}; these runs need it")


@pytest.fixture
def canned() -> Iterator[aioresponses]:
    """Answer requests with canned replies, where that is all that a test needs."""

    class Response(aiohttp.ClientResponse):
        # aiohttp 3.14 needs an argument that aioresponses does not know of yet.
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
                kwargs.setdefault("stream_writer", Mock(output_size=0))
            super().__init__(*args, **kwargs)

    with aioresponses() as canned:
        add = canned.add
        canned.add = partial(add, response_class=Response)  # type: ignore[method-assign]
        yield canned
