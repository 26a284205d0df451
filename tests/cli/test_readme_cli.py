"""README's commands are run as they stand there, on a terminal, by somebody who says yes."""

from __future__ import annotations

import re
import shlex
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paths import PACKAGE, README, READMES
from shell import Shell, on_terminal, posix_only, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLI = PACKAGE / "cli" / "README.md"
_REACTIONS = {"[y/N]": b"y\n"}


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Find the blocks of a text: what language, and what is in it."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@posix_only
def test_every_command_runs(
    make_shell: Callable[..., Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the command's README ends with 0, in the order in which it stands there."""
    pytest.importorskip("dbos")
    monkeypatch.chdir(tmp_path)
    shell = make_shell(speed=1e6)
    ran = 0
    for language, text in blocks(CLI.read_text("utf-8")):
        if language == "csv":
            Path("jobs.csv").write_text(text)
        elif language == "bash":
            for line in text.splitlines():
                prepare(line)
                token = shell.sandbox.rentals[-1].token if shell.sandbox.rentals else ""
                program, *words = shlex.split(line.replace("TOKEN", token))
                assert program == "smspartner"
                if words[0] == "worker":
                    code, screen = worked(shell, words, "files/beauvais.csv", "files/corsica.csv")
                else:
                    code, screen = on_terminal(shell, *words, react=_REACTIONS)
                assert code == 0, f"{line}\n{screen}"
                ran += 1
    assert ran >= 11


def worked(shell: Shell, words: list[str], *files: str) -> tuple[int, str]:
    """Run a worker until the files are on the disk, and stop it with Ctrl-C."""
    with running(*words, env=shell.variables) as process:
        end = time.monotonic() + 120
        while process.poll() is None and not all(Path(file).exists() for file in files):
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    return process.wait(), err


@posix_only
def test_the_sandbox_starts_as_the_readme_says(make_shell: Callable[..., Shell]) -> None:
    """The command of "A first program" serves until Ctrl-C, and prints two variables to set."""
    first = README.read_text("utf-8").partition("\n## A first program\n")[2].partition("\n## ")[0]
    (command,) = [text for language, text in blocks(first) if language == "bash"]
    program, *words = shlex.split(command)
    assert program == ".venv/bin/smspartner"
    code, screen = on_terminal(make_shell(), *words, react={"SMSPARTNER_BASE_URL": b"\x03"})
    assert code == 0, screen
    assert screen.count("export SMSPARTNER_") == 2


def test_no_command_stands_where_nothing_runs_it() -> None:
    """All commands stand where commands are run: here, or by `.ci/run`."""
    with_commands = {
        (readme, section.partition("\n")[0])
        for readme in READMES
        for section in readme.read_text("utf-8").split("\n## ")
        for language, _ in blocks(section)
        if language in {"bash", "csv"} and readme != CLI
    }
    assert with_commands == {
        (README, "Install"),
        (README, "A first program"),
        (README, "Try it"),
    }


def prepare(line: str) -> None:
    """Bring a job into the doubt that a line settles."""
    if found := re.match(r"smspartner batch resolve (\S+) .*--out (\S+)", line):
        with closing(sqlite3.connect(Path(found[2], "batch.db"))) as store, store:
            store.execute("UPDATE smspartner_jobs SET state = 'needs_attention'")
