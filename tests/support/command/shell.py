"""A shell to run the command in: in this process, or as a separate process."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked import Forked, run_module
from typer import testing
from typer.main import get_command
from typer.testing import CliRunner, Result

from smspartner_async.cli import _app
from smspartner_async.sandbox import Sandbox

KEY = "key-that-nobody-may-see-0123456789"
WOMEN = ("--gender", "female", "--min-age", "25", "--max-age", "40", "--interest", "12")
BEAUVAIS = (*WOMEN, "--zipcode", "60200", "--volume", "60200=20")
COMMAND = "smspartner_async.cli"
ESCAPE = "\x1b"
NUMBER = "+3363998"

# Or each run would make every command anew, which takes longer than most of them.
vars(testing)["_get_command"] = functools.cache(get_command)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")


class Shell:
    """A shell with an account on a sandbox: runs the command in this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.outputs: list[str] = []

    @property
    def environment(self) -> dict[str, str | None]:
        return {
            "SMSPARTNER_API_KEY": KEY,
            "SMSPARTNER_BASE_URL": self.sandbox.base_url,
            "COLUMNS": "80",
            **dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")),
        }

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process on this shell."""
        ours = {name: value for name, value in self.environment.items() if value}
        return {**clean_environment(), **ours}

    def run(
        self, *arguments: str, typed: str = "", env: Mapping[str, str | None] | None = None
    ) -> Result:
        result = CliRunner().invoke(
            _app.app, arguments, input=typed, env={**self.environment, **(env or {})}
        )
        self.outputs.append(result.output)
        return result

    def rent(self, *options: str) -> str:
        token: str = self.json("rent", *BEAUVAIS, "--yes", *options)["token"]
        return token

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def spawn(*command: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    return subprocess.Popen(  # noqa: S603 - the command is written in this file
        (sys.executable, *command),
        env={**clean_environment(), **(env or {})},
        text=True,
        **options,
    )


@contextmanager
def running(*words: str, env: dict[str, str], cwd: Path | None = None) -> Iterator[Forked]:
    """Run the command as a process, with its output piped; it ends with the block."""
    with Forked(run_module, COMMAND, *words, env=clean_environment() | env, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(*command: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    process = spawn(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def clean_environment() -> dict[str, str]:
    ours = ("SMSPARTNER_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_")
    return {n: v for n, v in os.environ.items() if not n.startswith(ours)} | {"TERM": "xterm"}


def on_terminal(shell: Shell, *words: str, react: Mapping[str, bytes]) -> tuple[int, str]:
    """Run the command on a terminal, and type when it has written something to react to."""
    import pty  # noqa: PLC0415 - Windows has none

    ours, theirs = pty.openpty()
    process = Forked(run_module, COMMAND, *words, env=shell.variables, terminal=theirs)
    os.close(theirs)
    screen, awaited = "", dict(react)
    with process:
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:  # Linux's way to say that nobody holds the other end
                read = b""
            if not read:
                break
            screen += read.decode()
            for seen in [words for words in awaited if words in screen]:
                os.write(ours, awaited.pop(seen))
    os.close(ours)
    shell.outputs.append(screen)
    return process.wait(), screen
