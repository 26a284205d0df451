"""What the tests of the command share: shells with an account, and screens."""

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
from rich.console import Console
from shell import KEY, NUMBER, Shell

from smspartner_async import PollingPolicy
from smspartner_async.cli import _app, _display
from smspartner_async.sandbox import Sandbox

with suppress(ImportError):  # without the extra `durable` there is no batch
    from dbos_tables import migrations_run_once  # noqa: F401


@pytest.fixture(scope="session")
def in_background() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def make_shell(
    in_background: Callable[[Coroutine[Any, Any, Any]], Any],
) -> Iterator[Callable[..., Shell]]:
    shells: list[Shell] = []

    def make(**options: Any) -> Shell:
        settings: dict[str, Any] = {"api_key": KEY, "speed": 1000.0, **options}
        sandbox = Sandbox(**settings)
        in_background(sandbox.start())
        shells.append(Shell(sandbox))
        return shells[-1]

    yield make
    for shell in shells:
        in_background(shell.sandbox.close())
        assert KEY not in "".join(shell.outputs)
        assert NUMBER not in "".join(shell.outputs)


@pytest.fixture
def shell(make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch) -> Shell:
    # Eight seconds of a rental's life last 8 ms: a second look finds what the first did not.
    monkeypatch.setattr(_app, "_POLLING", PollingPolicy(first_interval=0.02, max_interval=0.02))
    return make_shell()


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who can answer questions, whose answers are what the test types."""
    monkeypatch.setattr(_display.Display, "can_ask", True)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[_display.Display, io.StringIO]:
    """A display on a terminal of 80 columns, and what appears there."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    display = _display.Display(together=True)
    display._err = display._out = Console(file=screen, force_terminal=True, width=80)
    return display, screen
