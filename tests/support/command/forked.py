"""Processes that begin in a twentieth of the time: forked from one that has imported everything.

Only POSIX has such servers.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE: Final = 120.0  # seconds; a process that lives longer hangs
_IMPORTED_ONCE: Final = (
    *("dbos", "dbos._migration", "smspartner_async.cli._worker", "smspartner_async.sandbox"),
    *("smspartner_async.cli._batch.run", "smspartner_async.cli._batch.standing"),
)


class Forked:
    """A process that calls a function; used as a `subprocess.Popen` is, with text in its pipes.

    Args:
        function: what it calls; it can be imported.
        arguments: what that is called with.
        env: its environment.
        cwd: its working directory; by default this process's.
        terminal: its standard input, output and error, in a new session; by default, pipes.
        errors: the file at whose end its standard error goes, in place of a pipe.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: object,
        env: Mapping[str, str],
        cwd: Path | None = None,
        terminal: int | None = None,
        errors: Path | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*_IMPORTED_ONCE])
        self._pipes: list[IO[str]] = []
        with ExitStack() as stack:
            if terminal is not None:
                fds = [os.dup(terminal) for _ in range(3)]
            else:
                fds = [self._pipe("w"), self._pipe("r"), *([] if errors else [self._pipe("r")])]
            if errors is not None:
                fds.append(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
            theirs = [stack.enter_context(Connection(fd)) for fd in fds]  # which can be passed on
            self._process = context.Process(
                target=_begin, args=(theirs, dict(env), cwd or Path.cwd(), function, arguments)
            )
            self._process.start()

    def _pipe(self, mode: str) -> int:
        """Open our end of a pipe; return the other."""
        ends = os.pipe()
        ours, theirs = ends if mode == "r" else reversed(ends)
        self._pipes.append(os.fdopen(ours, mode, encoding="utf-8"))
        return theirs

    @property
    def stdin(self) -> IO[str]:
        return self._pipes[0]

    @property
    def stdout(self) -> IO[str]:
        return self._pipes[1]

    @property
    def stderr(self) -> IO[str]:
        return self._pipes[2]

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, if it has ended; -9 after a kill."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self.returncode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end; return all that it wrote and nobody has read."""
        hangs = threading.Timer(timeout, self.kill)
        hangs.start()
        with ThreadPoolExecutor() as readers:
            out, err = readers.map(lambda pipe: pipe.read(), self._pipes[1:])
        self.wait()
        assert hangs.is_alive(), f"it hung: {err}"
        hangs.cancel()
        return out, err

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return its exit code and its output."""
        with self:
            out, err = self.communicate()
            return self.wait(), out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        self.wait()


def run_module(name: str, *words: str) -> None:
    """Run a module as `python -m` does."""
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__")


def run_module_ignoring(signal_name: str, name: str, *words: str) -> None:
    """Run a module where a signal is ignored, as nohup does and a shell for `&`."""
    signal.signal(signal.Signals[signal_name], signal.SIG_IGN)
    run_module(name, *words)


def _begin(
    files: list[Connection],
    env: dict[str, str],
    cwd: Path,
    function: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    """Make of this fork what a new process is, and call the function."""
    gc.freeze()  # what was imported is garbage to nobody
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as it begins
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdin.isatty():
        _take_terminal()
    function(*arguments)


def _take_terminal() -> None:
    """Begin a session, which alone gives a process the terminal whose Ctrl-C it hears."""
    import fcntl  # noqa: PLC0415 - Windows has none
    import termios  # noqa: PLC0415 - Windows has none

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
