"""The command as separate processes that begin quickly, and can be stopped at an exact place.

They are forked from a server that has imported everything. Only POSIX has such servers.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path
    from typing import Any

_IMPORTED_ONCE: Final = (
    *("pytest", "dbos", "dbos._migration", "smspartner_async.cli._worker"),
    *("smspartner_async.cli._batch.run", "smspartner_async.cli._batch.standing"),
)
_NUMBERS: Final = itertools.count(1)
_WATCHING: Final = 0.03  # seconds between two looks of a run at its store: tests need not wait
_PATIENCE: Final = 120.0  # seconds; a process that lives longer hangs


@frozen
class Place:
    """A place in the code where a process signals itself: around what one function does.

    Attributes:
        module, owner, function: which; `owner` is the name of its class, or empty.
        mark: text that stands in what the function is called with.
        after: whether the signal comes when it is done.
    """

    module: str
    owner: str
    function: str
    mark: str = ""
    after: bool = False

    def set_trap(self, number: int) -> None:
        """Let the first such call of this process raise a signal."""
        module = importlib.import_module(self.module)
        holder = getattr(module, self.owner) if self.owner else module
        real, sprung = getattr(holder, self.function), list[int]()

        def trapped(*args: Any, **kwargs: Any) -> Any:
            hit = not sprung and self.mark in repr((args, kwargs))
            sprung.extend([number] * hit)
            if hit and not self.after:
                os.kill(os.getpid(), number)
            result = real(*args, **kwargs)
            if hit and self.after:
                os.kill(os.getpid(), number)
            return result

        setattr(holder, self.function, trapped)


@frozen
class Command:
    """A `smspartner` that runs, or has run."""

    process: ForkServerProcess
    output: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return its exit code (-9 after a kill) and its output."""
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"it hangs: {self.output.with_suffix('.err').read_text()}")
        code = self.process.exitcode
        self.process.close()
        out, err = (self.output.with_suffix(end).read_text() for end in (".out", ".err"))
        return code, out, err


SENDING: Final = Place("smspartner_async._files", "JsonLines", "append", "'sending'", after=True)
"""The journal says that a rent is about to be sent, and nothing was sent."""
TOKEN: Final = Place("smspartner_async._files", "JsonLines", "append", "'token': 'tok0")
"""A token has come, and is not in the journal."""
TOKEN_KEPT: Final = evolve(TOKEN, after=True)
"""A token is in the journal, and not in the store."""


def start(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str],
    trap: tuple[Place, int] | None = None,
) -> Command:
    """Begin a `smspartner` in a folder, whose output goes to files beside it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED_ONCE])
    output = folder.parent / f"output-{next(_NUMBERS)}"
    process = context.Process(target=_run, args=(folder, output, arguments, dict(env), trap))
    process.start()
    return Command(process, output)


def _run(
    folder: Path,
    output: Path,
    arguments: tuple[str, ...],
    env: dict[str, str],
    trap: tuple[Place, int] | None,
) -> None:
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for fd, end in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(end), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    os.environ.update(env)
    sys.argv = ["smspartner", *arguments]
    from smspartner_async import cli  # noqa: PLC0415 - when it is all set
    from smspartner_async.cli._batch import run  # noqa: PLC0415 - too

    run._POLL_EVERY = _WATCHING  # type: ignore[misc]
    if trap is not None:
        place, number = trap
        place.set_trap(number)
    main: Callable[[], object] = cli.main
    main()
