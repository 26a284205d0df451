"""The READMEs are a program: every Python block in them runs, in order, against the sandbox."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from paths import PACKAGE, README, READMES, ROOT
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import smspartner_async
from smspartner_async import SMSPartnerClient
from smspartner_async.testing import QUICK_POLLING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smspartner_async.sandbox import Sandbox

FILES = {
    "nice.csv",
    "nice.token",
    "contacts.txt",
    "rental-1.csv",
    "job-06200.csv",
    "winter-job-06200.csv",
}


def blocks_of(parser: Callable[..., Any], *readmes: Path) -> list[tuple[Path, int, str]]:
    documents = ((readme, Sybil(parsers=[parser]).parse(readme)) for readme in readmes)
    return [
        (readme, example.line, str(example.parsed))
        for readme, document in documents
        for example in document.examples()
    ]


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


async def test_the_first_program_pays_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A first program that is run twice rents and downloads once, and leaves its file."""
    monkeypatch.chdir(tmp_path)
    init = inspect.unwrap(SMSPartnerClient.__init__)
    monkeypatch.setattr(init, "__kwdefaults__", init.__kwdefaults__ | {"polling": QUICK_POLLING})
    first = next(source for *_, source in blocks_of(PythonCodeBlockParser(), README))
    for _ in range(2):
        await asyncio.to_thread(exec, compile(first, "first.py", "exec"), {})
    sandbox.assert_requests(rent=1, price=1, download=1)
    sandbox.assert_paid("1.80")
    assert len((tmp_path / "nice.csv").read_text().splitlines()) == 20


@pytest.mark.usefixtures("sandbox")
async def test_every_python_block_runs(
    subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A reader can paste each Python block into an async function, and it works."""
    monkeypatch.chdir(tmp_path)
    init = inspect.unwrap(SMSPartnerClient.__init__)
    monkeypatch.setattr(init, "__kwdefaults__", init.__kwdefaults__ | {"polling": QUICK_POLLING})
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = [
        block for block in blocks_of(PythonCodeBlockParser(), *READMES) if not is_service(block[-1])
    ]
    assert len(blocks) > 10
    for readme, line, source in blocks:
        with subtests.test(f"{readme.relative_to(ROOT)}:{line}"):
            prepare(source)
            text = source.replace("asyncio.run(main())", "await main()")
            code = compile(
                "\n" * line + text,
                str(readme),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            ran = eval(code, names)  # noqa: S307 - our own READMEs
            if inspect.isawaitable(ran):
                await ran
    assert files_of(tmp_path) >= FILES
    assert states_of(tmp_path / "rentals.db") == {"queued"}  # both were settled


def test_the_error_table_names_every_error() -> None:
    """The package's table of errors lists each public error once, and no other."""
    text = (PACKAGE / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+Error)` \|", text, re.MULTILINE)
    public = {name for name in smspartner_async.__all__ if name.endswith("Error")} - {
        "SMSPartnerError"
    }
    assert sorted(rows) == sorted(public)


def test_the_three_commands_stand_alone() -> None:
    """Installing, the demonstration and the tests each make their own virtual environment."""
    commands = [
        text for *_, text in blocks_of(CodeBlockParser("bash", print), README) if ".venv" in text
    ]
    starts = [command for command in commands if command.startswith("python3 -m venv .venv &&")]
    assert len(starts) == 3
    assert all(command.count("\n") == 1 for command in starts)


def test_the_front_door_is_read_in_one_sitting() -> None:
    """The first README says what it is, shows the operations, and leads on: no more."""
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 250
    assert len(text.split()) <= 1800
