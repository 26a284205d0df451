"""Batches in a store, from the command line: killed, continued, shared with workers, settled."""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, running

from smspartner_async.cli._batch import commands

from .test_run import run, write_jobs
from .test_run_stops import RUN

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typer.testing import Result

pytest.importorskip("dbos")

from smspartner_async.durable import JobState, Store


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(make_shell: Callable[..., Shell]) -> Shell:
    return make_shell(speed=1e6)


def smspartner(shell: Shell, *words: str) -> AbstractContextManager[Any]:
    """Run the command in a separate process, which does not outlive the block."""
    return running(*words, env=shell.variables)


def finished(shell: Shell, *words: str) -> tuple[int, str, str]:
    with smspartner(shell, *words) as process:
        out, err = process.communicate(timeout=120)
    shell.outputs += [out, err]
    return process.returncode, out, err


def put(path: Path, job: str, state: JobState) -> None:
    """Put a job of a store into a state that is hard to get it into."""
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE smspartner_jobs SET state = ? WHERE id = ?", (state.value, job))


def test_a_store_without_the_extra_is_refused(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra `durable` every command that needs a store says what to install."""
    write_jobs(tmp_path, 1)
    monkeypatch.setattr(commands, "find_spec", lambda _: None)
    for words in (
        RUN,
        ("batch", "status", "--out", "out"),
        ("batch", "submit", "jobs.csv", "--store", "sqlite:///x.db", "--out", "out"),
        ("worker", "--store", "sqlite:///x.db"),
    ):
        result = shell.run(*words)
        assert result.exit_code == 1
        assert "pip install 'smspartner_async[durable]'" in result.stderr
    assert not shell.sandbox.requests


# --- submit, worker, status -----------------------------------------------------------------


SUBMIT = ("batch", "submit", "jobs.csv", "--out", ".", "--store", "sqlite:///jobs.db")


def submit(shell: Shell, *options: str) -> Result:
    return shell.run(*SUBMIT, "--no-limit", *options)


def test_the_same_rows_are_submitted_once(shell: Shell, tmp_path: Path) -> None:
    """Rows that are there already stay as they are; changed ones refuse all; nothing is sent."""
    write_jobs(tmp_path, 1, 2)
    submit(shell, "--yes")
    write_jobs(tmp_path, 1, 2, 3)
    assert "1 submitted, 2 were there" in submit(shell, "--yes").stdout
    write_jobs(tmp_path, 1, 2, 3, 4, limit="9.00")
    result = submit(shell, "--yes")
    assert result.exit_code == 1
    assert "In the store with other content: 'job1'" in result.stderr
    assert shell.json("batch", "status", "--store", "sqlite:///jobs.db")["jobs"] == 3
    assert not shell.sandbox.requests


def test_a_bad_row_is_named_before_anything_is_submitted(shell: Shell, tmp_path: Path) -> None:
    """`batch submit` names a bad row by line and field, and makes no store."""
    write_jobs(tmp_path, 1)
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("two,mixed,25,17,1,60200,,\n")
    result = submit(shell, "--yes")
    assert result.exit_code == 1
    assert "line 3, max_age: " in result.stderr
    assert not (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize(
    ("limit", "words"), [("1.80", "at most 3.60"), ("", "NO LIMIT: 2 rows have no max_total")]
)
def test_submitting_asks_and_names_the_limit(
    shell: Shell, at_terminal: None, tmp_path: Path, limit: str, words: str
) -> None:
    """`batch submit` says what the workers may spend at most, and submits on yes alone."""
    write_jobs(tmp_path, 1, 2, limit=limit)
    result = shell.run(*SUBMIT, "--no-limit", typed="n\n")
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "jobs.db").exists()


def test_submitting_without_a_terminal_needs_a_yes(shell: Shell, tmp_path: Path) -> None:
    """Piped, `batch submit` submits nothing without `--yes`."""
    write_jobs(tmp_path, 1)
    assert submit(shell).exit_code == 1
    assert not (tmp_path / "jobs.db").exists()


# --- status and resolve -----------------------------------------------------------------------


def test_status_lists_what_needs_attention_and_how_to_settle_it(
    shell: Shell, tmp_path: Path
) -> None:
    """`batch status` shows states and money, and what to type for a job in doubt."""
    write_jobs(tmp_path, 1, 2)
    submit(shell, "--yes")
    put(tmp_path / "jobs.db", "job1", JobState.NEEDS_ATTENTION)
    result = shell.run("batch", "status", "--store", "sqlite:///jobs.db")
    assert result.exit_code == 0
    for words in ("needs attention", "queued", "All", "0.00"):
        assert words in result.stdout
    assert "resolve job1 --not-charged --store sqlite:///jobs.db" in result.stdout
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert [one["id"] for one in stand["needs_attention"]] == ["job1"]


@pytest.mark.parametrize(
    ("option", "state", "token"),
    [
        (("--not-charged",), JobState.QUEUED, None),
        (("--token", "tok-1"), JobState.QUEUED, "tok-1"),
        (("--give-up",), JobState.GIVEN_UP, None),
    ],
)
def test_a_person_settles_a_job_of_a_store(
    shell: Shell, tmp_path: Path, option: tuple[str, ...], state: JobState, token: str | None
) -> None:
    """`batch resolve` settles a job that needs attention; another one it leaves alone."""
    write_jobs(tmp_path, 1)
    submit(shell, "--yes")
    resolve = ("batch", "resolve", "job1", *option, "--store", "sqlite:///jobs.db")
    refused = shell.run(*resolve)
    assert refused.exit_code == 1
    assert "nothing was done" in refused.stderr
    put(tmp_path / "jobs.db", "job1", JobState.NEEDS_ATTENTION)
    assert shell.run(*resolve).exit_code == 0

    async def read() -> Any:
        async with Store("sqlite:///jobs.db") as store:
            return await store.record("job1")

    record = asyncio.run(read())
    assert (record.state, record.token) == (state, token)


def test_resolve_names_a_job_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    """`batch resolve` of an unknown job says so."""
    write_jobs(tmp_path, 1)
    submit(shell, "--yes")
    result = shell.run("batch", "resolve", "nope", "--give-up", "--store", "sqlite:///jobs.db")
    assert result.exit_code == 1
    assert "There is no job 'nope' in this store" in result.stderr


def test_status_names_the_command_that_resumes_failed_jobs(shell: Shell, tmp_path: Path) -> None:
    """The line that `batch status` prints resumes all failed jobs, and no other."""
    write_jobs(tmp_path, 1, 2, 3)
    submit(shell, "--yes")
    for job in ("job1", "job3"):
        put(tmp_path / "jobs.db", job, JobState.FAILED)
    shown = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stderr
    (line,) = re.findall(r"^  smspartner (batch resume .*)$", shown, re.MULTILINE)
    assert shlex.split(line)[2:4] == ["job1", "job3"]
    assert shell.run(*shlex.split(line)).exit_code == 0
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert [*stand["states"]] == ["queued"]
    refused = shell.run("batch", "resume", "job2", "--store", "sqlite:///jobs.db")
    assert refused.exit_code == 1
    assert "QUEUED, not FAILED; nothing was done" in refused.stderr


def test_status_of_a_folder_names_the_run_that_resumes_failed_jobs(
    shell: Shell, tmp_path: Path
) -> None:
    """In the folder of a batch no worker would come to what `batch resume` queues."""
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 0
    put(tmp_path / "out" / "batch.db", "job1", JobState.FAILED)
    shown = shell.run("batch", "status", "--out", "out").stderr
    assert "1 failed. When the cause is gone, type its `batch run` again." in shown
    assert "batch resume" not in shown


@pytest.mark.parametrize(
    "where",
    [
        (),
        ("--store", "sqlite:///x.db", "--out", "out"),
        ("--out", "nowhere"),
        ("--store", "sqlite:///mistyped.db"),
    ],
)
def test_status_needs_one_batch(shell: Shell, tmp_path: Path, where: tuple[str, ...]) -> None:
    """`batch status` takes a store or a folder, and makes neither."""
    assert shell.run("batch", "status", *where).exit_code in {1, 2}
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("command", ["run", "submit --store sqlite:///jobs.db"])
def test_a_list_without_jobs_is_an_error(shell: Shell, tmp_path: Path, command: str) -> None:
    """Bad input: a file that names its columns and has no row is an error, and nothing is sent."""
    (tmp_path / "jobs.csv").write_text("id,gender,min_age,max_age,interest\n")
    result = shell.run("batch", *command.split(), "jobs.csv", "--out", "new")
    assert result.exit_code == 1
    sentence = "Error: jobs.csv lists no jobs, so nothing was sent. Add a row for each rental."
    assert sentence in " ".join(result.stderr.split())
    assert shell.sandbox.requests == {}
    assert not (tmp_path / "new").exists()
