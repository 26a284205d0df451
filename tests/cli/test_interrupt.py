"""Ctrl-C, SIGTERM and a terminal that is closed: what was bought is shown, or kept in a file."""

import asyncio
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from faults import stall_before_head
from forked import Forked, run_module, run_module_ignoring
from renting import receipt
from shell import BEAUVAIS, COMMAND, KEY, clean_environment, posix_only

from smspartner_async.cli import _interrupt
from smspartner_async.cli._display import Display
from smspartner_async.cli._interrupt import first_interrupt_only, treat_signals_as_ctrl_c

RENT = ("rent", *BEAUVAIS, "--yes")

pytestmark = posix_only


@asynccontextmanager
async def renting(
    *words: str, folder: Path, ignoring: str | None = None, seconds: float = 1, **options: Any
) -> AsyncIterator[Forked]:
    """Run a command in another process, up to a moment at which its request is under way."""
    async with FaultServer(default=stall_before_head(receipt("paid-for"), seconds)) as server:
        environment = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": server.base_url}
        environment |= clean_environment() | {"TMPDIR": str(folder)}
        begin = (run_module_ignoring, ignoring) if ignoring else (run_module,)
        with Forked(*begin, COMMAND, *words, cwd=folder, env=environment, **options) as program:
            try:
                async with asyncio.timeout(120):
                    while not server.received:  # noqa: ASYNC110 - of another process
                        await asyncio.sleep(0.01)
                yield program
                assert len(server.received) == 1
            finally:
                program.kill()


@pytest.mark.parametrize(
    ("gone", "there", "names"),
    [
        ((), (), ["SIGINT", "SIGTERM", "SIGHUP"]),
        (("SIGHUP",), ("SIGBREAK",), ["SIGINT", "SIGTERM", "SIGBREAK"]),
    ],
    ids=["POSIX", "Windows"],
)
def test_the_signals_of_each_system(
    gone: tuple[str, ...],
    there: tuple[str, ...],
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a closed terminal sends is SIGHUP here, and SIGBREAK on Windows, which has no SIGHUP."""
    for name in gone:
        monkeypatch.delattr(signal, name)
    for name in there:
        monkeypatch.setattr(signal, name, name, raising=False)
    module = runpy.run_path(_interrupt.__file__)
    assert [getattr(one, "name", one) for one in module["_SIGNALS"]] == names


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_a_signal_during_a_rent_costs_no_token(name: str, tmp_path: Path) -> None:
    """A paid request: however often it comes, the answer is awaited and the token shown."""
    async with renting(*RENT, folder=tmp_path) as program:
        for _ in range(3):
            program.send_signal(signal.Signals[name])
            await asyncio.sleep(0.05)
        out, err = await asyncio.to_thread(program.communicate)
    assert program.returncode == 3
    assert "Token     paid-for" in out
    assert "Rented. Token: paid-for" in err
    assert err.count("Stopping;") == 1
    assert files_in(tmp_path) == []


async def test_a_hangup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """Started by nohup, a rent runs to its end when the terminal is closed."""
    async with renting(*RENT, folder=tmp_path, ignoring="SIGHUP") as program:
        program.send_signal(signal.SIGHUP)
        out, err = await asyncio.to_thread(program.communicate)
    assert program.returncode == 0
    assert "Token     paid-for" in out
    assert "Stopping" not in err


@pytest.mark.parametrize(("words", "code"), [(("credits",), 130), (("wait", "tok"), 3)])
@pytest.mark.parametrize(
    ("name", "ignored"),
    [("SIGINT", None), ("SIGTERM", None), ("SIGHUP", None), ("SIGTERM", "SIGINT")],
)
async def test_any_signal_ends_a_command_as_ctrl_c_does(
    name: str, ignored: str | None, words: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    """The command: 130 is any signal, at any moment; also where a shell lets Ctrl-C be ignored."""
    async with renting(*words, folder=tmp_path, ignoring=ignored, seconds=60) as program:
        program.send_signal(signal.Signals[name])
        _, err = await asyncio.to_thread(program.communicate)
    assert program.returncode == code
    assert err.rstrip().endswith("Interrupted.")
    assert ("wait for it again" in err) == (code == 3)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_the_end_changes_no_exit_code(name: str) -> None:
    """The command: Python takes a second to end, and 4 must not become 130, or "killed"."""
    program = f"""if True:
        import atexit, os, signal
        from smspartner_async.cli import _app
        def end(**_): raise SystemExit(4)
        class AtTheEnd:
            def __del__(self): os.kill(os.getpid(), signal.{name})
        at_the_end = AtTheEnd()
        atexit.register(os.kill, os.getpid(), signal.{name})
        _app.app = end
        _app.main()
    """
    ended = subprocess.run(  # noqa: S603 - written here
        (sys.executable, "-c", program), capture_output=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stderr) == (4, b"")


async def test_the_token_is_in_a_file_when_the_terminal_is_closed(tmp_path: Path) -> None:
    """A paid request: where nobody can see the token any more, only the owner can read it."""
    import pty  # noqa: PLC0415 - Windows has none

    ours, theirs = pty.openpty()
    async with renting(*RENT, folder=tmp_path, terminal=theirs) as program:
        os.close(theirs)
        os.close(ours)
        program.send_signal(signal.SIGHUP)
        await asyncio.to_thread(program.wait)
    (kept,) = files_in(tmp_path)
    assert kept.name.startswith("smspartner-rental-")
    assert json.loads(kept.read_text("utf-8")) == {"token": "paid-for"}
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_only_the_first_signal_cancels(name: str) -> None:
    """Further ones are ignored until the block ends; then the handlers are as they were."""
    number = signal.Signals[name]
    before = signal.signal(number, lambda *_: None)
    mine = signal.getsignal(number)
    cancelled = 0

    async def work() -> None:
        nonlocal cancelled
        with first_interrupt_only(Display(unseen=True)):
            signal.raise_signal(number)
            for _ in range(3):
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    cancelled += 1
                    signal.raise_signal(signal.SIGTERM)

    try:
        await asyncio.create_task(work())
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
    assert cancelled == 1


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """Signals as a new process has them, but for SIGHUP, which `nohup` ignores."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("on_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_a_ctrl_c(on_ctrl_c: Any) -> None:
    """The command: SIGTERM interrupts, also where Ctrl-C is ignored; what was ignored stays so."""
    signal.signal(signal.SIGINT, on_ctrl_c)
    treat_signals_as_ctrl_c()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("_own_signals")
def test_sigterm_does_what_ctrl_c_does_in_a_loop() -> None:
    """The command: asyncio's own handler of Ctrl-C, which cancels the task, gets SIGTERM, too."""
    asked: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    treat_signals_as_ctrl_c()
    signal.raise_signal(signal.SIGTERM)
    assert asked == [signal.SIGINT]
