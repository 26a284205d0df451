"""README.md is a program: every Python block in it runs, in order, against the sandbox."""

from __future__ import annotations

import ast
import inspect
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import smspartner_async
from smspartner_async import SMSPartnerClient
from smspartner_async.testing import QUICK_POLLING

if TYPE_CHECKING:
    from collections.abc import Callable

README = Path(__file__).parent.parent / "README.md"
FILES = {"contacts.csv", "contacts.txt", "rental-1.csv", "job-06200.csv", "winter-job-06200.csv"}


def _blocks(parser: Callable[..., Any]) -> list[tuple[int, str]]:
    document = Sybil(parsers=[parser]).parse(README)
    return [(example.line, example.parsed) for example in document.examples()]


def is_service(source: str) -> bool:
    """Whether a block is a whole service, which tests/web runs."""
    return re.match(r"# \w+_service\.py;", source) is not None


def files_of(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


def states_of(database: Path) -> set[str]:
    """The states of all jobs in a store."""
    with closing(sqlite3.connect(database)) as store:
        return {state for (state,) in store.execute("SELECT state FROM smspartner_jobs")}


def prepare(source: str) -> None:
    """Bring jobs into the states that a block settles."""
    if "JobState.NEEDS_ATTENTION" in source:
        with closing(sqlite3.connect("rentals.db")) as store, store:
            states = [("needs_attention", "winter-job-60200"), ("failed", "winter-job-06200")]
            store.executemany("UPDATE smspartner_jobs SET state = ? WHERE id = ?", states)


@pytest.mark.usefixtures("sandbox")
async def test_every_python_block_runs(
    subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A reader can paste each Python block of README.md into an async function, and it works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        inspect.unwrap(SMSPartnerClient.__init__),
        "__kwdefaults__",
        {
            **(SMSPartnerClient.__init__.__kwdefaults__ or {}),
            "polling": QUICK_POLLING,
        },
    )
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = [
        (line, source)
        for line, source in _blocks(PythonCodeBlockParser())
        if not is_service(str(source))
    ]
    assert len(blocks) > 10
    for line, source in blocks:
        with subtests.test(f"README.md:{line}"):
            prepare(str(source))
            text = str(source).replace("asyncio.run(main())", "await main()")
            code = compile(
                "\n" * line + text,
                str(README),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            ran = eval(code, names)  # noqa: S307 - our own README
            if inspect.isawaitable(ran):
                await ran
    assert files_of(tmp_path) >= FILES
    assert states_of(tmp_path / "rentals.db") == {"queued"}  # both were settled


def test_the_error_table_names_every_error() -> None:
    """README's table of errors lists each public error once, and no other."""
    rows = re.findall(r"^\| `(\w+Error)` \|", README.read_text("utf-8"), re.MULTILINE)
    public = {name for name in smspartner_async.__all__ if name.endswith("Error")} - {
        "SMSPartnerError"
    }
    assert sorted(rows) == sorted(public)


def test_the_two_commands_stand_alone() -> None:
    """The commands for the demonstration and the tests each make their own virtual environment."""
    commands = [text for _, text in _blocks(CodeBlockParser("bash", print)) if ".venv" in text]
    starts = [command for command in commands if command.startswith("python3 -m venv .venv &&")]
    assert len(starts) == 2
    assert all(command.count("\n") == 1 for command in starts)
