"""README's commands are run as they stand there, on a terminal, by somebody who says yes."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .shell import Shell, on_terminal, posix_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REACTIONS = {"[y/N]": b"y\n", "is at work": b"\x03"}
README = Path(__file__).parent.parent.parent / "README.md"


def blocks(section: str) -> Iterator[tuple[str, str]]:
    """Find the blocks of a section: what language, and what text."""
    text = README.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@posix_only
def test_every_command_runs(
    make_shell: Callable[..., Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of "The command line" ends with 0 in the order in which it is told."""
    pytest.importorskip("dbos")
    monkeypatch.chdir(tmp_path)
    shell = make_shell(speed=1e6)
    ran = 0
    for language, text in blocks("The command line"):
        if language == "csv":
            Path("jobs.csv").write_text(text)
        elif language == "bash":
            for line in text.splitlines():
                prepare(line)
                token = shell.sandbox.rentals[-1].token if shell.sandbox.rentals else ""
                program, *words = shlex.split(line.replace("TOKEN", token))
                assert program == "smspartner"
                code, screen = on_terminal(shell, *words, react=_REACTIONS)
                assert code == 0, f"{line}\n{screen}"
                ran += 1
    assert ran >= 11


@posix_only
def test_the_sandbox_is_started_as_it_is_told(make_shell: Callable[..., Shell]) -> None:
    """The command of "A first program" serves until Ctrl-C, and prints two variables to set."""
    (command,) = [text for language, text in blocks("A first program") if language == "bash"]
    program, *words = shlex.split(command)
    assert program == ".venv/bin/smspartner"
    code, screen = on_terminal(make_shell(), *words, react={"SMSPARTNER_BASE_URL": b"\x03"})
    assert code == 0, screen
    assert screen.count("export SMSPARTNER_") == 2


def test_no_command_stands_where_nothing_runs_it() -> None:
    """All commands stand in the sections whose commands are run, here or by `.ci/run`."""
    sections = re.findall(r"^## (.+)$", README.read_text("utf-8"), re.MULTILINE)
    with_commands = {
        section
        for section in sections
        for language, _ in blocks(section)
        if language in {"bash", "csv"}
    }
    assert with_commands == {"Try it", "A first program", "The command line"}


def prepare(line: str) -> None:
    """Bring a job into the doubt that a line settles."""
    if found := re.match(r"smspartner batch resolve (\S+) .*--out (\S+)", line):
        with closing(sqlite3.connect(Path(found[2], "batch.db"))) as store, store:
            store.execute("UPDATE smspartner_jobs SET state = 'needs_attention'")
