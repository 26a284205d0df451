"""What all tests share."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import signal
import sys
import threading
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from forked import Forked, run_module
from hypothesis import settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smspartner_async import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox


# On a busy machine any example may take long, and says nothing by that.
settings.register_profile("patient", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None)
settings.load_profile("long" if os.environ.get("CI_LONG") else "patient")


def pytest_sessionstart() -> None:
    """Start without an event loop, which looptime would leak, and with signals that are heard.

    A shell ignores SIGINT for what it starts with `&`, and nohup SIGHUP; what is started from there
    inherits that.
    """
    asyncio.set_event_loop(None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


# What takes longest begins first: begun last, it would run alone at the end.
SLOWEST_FIRST = ("durable", "cli", "testing", "package", "readme")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders with the slowest tests first, in an order that all workers agree on."""
    place = {folder: number for number, folder in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: min(place.get(part, len(place)) for part in item.path.parts))


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at what stays until the end: thousands of tests, and more.

    It would take a quarter of a second, and many tests need one: what was not closed warns there.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run more tests at a time than there are cores: most of their time they wait.

    They wait for a clock, a process or a server.
    """
    cores = os.cpu_count() or 1
    return max(cores, min(3 * cores, 8))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let hypothesis make its table of all characters once, and not in each worker: 4 s of CPU."""
    threading.Thread(target=st.text().validate, daemon=True).start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let whoever is done take from the others: the slow tests are not one worker's alone."""
    return import_module("xdist.scheduler").WorkStealingScheduling(config, log)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A Postgres server on a unix socket; a test that needs one is skipped where there is none."""
    runs = pytest.importorskip("benchmarks.durable_runs")
    try:
        with runs.Postgres.running() as server:
            yield server
    except runs.PostgresMissingError as missing:
        pytest.skip(f"{missing}; these runs need it")


@pytest.fixture
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of durable runs: one that begins anew imports for a second."""
    runs = pytest.importorskip("benchmarks.durable_runs")
    real = runs.started

    def started(program: str, options: dict[str, Any], log: Path, root: Path = runs.ROOT) -> Any:
        if root != runs.ROOT:  # another release's
            return real(program, options, log, root)
        words = ("benchmarks.durable_processes", program, json.dumps(options))
        return Forked(run_module, *words, env=os.environ, cwd=root, errors=log)

    monkeypatch.setattr(runs, "started", started)


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
