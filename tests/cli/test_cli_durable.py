"""Batches in a store, from the command line: killed, gone on with, shared with workers, settled."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shlex
import signal
import sqlite3
import time
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from smspartner_async import _cli_batch, _cli_store
from smspartner_async._results import Line, Results

from .shell import KEY, NUMBER, Shell, on_terminal, posix_only, running
from .test_cli_batch import QUICKLY, states_of, write_jobs
from .test_cli_batch_stops import count_lines, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typer.testing import Result

pytest.importorskip("dbos")

from smspartner_async.durable import JobState, Store

RUN = ("batch", "run", "jobs.csv", "--out", "out", *QUICKLY, "--yes")


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(make_shell: Callable[..., Shell]) -> Shell:
    return make_shell(speed=1e6)


def smspartner(shell: Shell, *words: str) -> AbstractContextManager[Any]:
    """Run the command as a process of its own, which does not outlive the block."""
    environment = {name: value for name, value in shell.environment.items() if value}
    return running("-m", "smspartner_async.cli", *words, env=environment)


def finished(shell: Shell, *words: str) -> tuple[int, str, str]:
    with smspartner(shell, *words) as process:
        out, err = process.communicate(timeout=60)
    shell.outputs += [out, err]
    return process.returncode, out, err


def paid_for(shell: Shell) -> list[int]:
    """Tell the number of the job of each rental that the vendor charged."""
    return sorted(int(rental.parameters["interest"]) for rental in shell.sandbox.rentals)


def settle_as_a_person(shell: Shell, path: Path) -> None:
    """Look at the vendor's list of rentals, and settle what needs attention."""
    charged = {f"job{r.parameters['interest']}": r.token for r in shell.sandbox.rentals}

    async def settle() -> None:
        async with Store(f"sqlite:///{path}") as store:
            for record in await store.records(JobState.NEEDS_ATTENTION):
                if token := charged.get(record.id):
                    await store.resolve(record.id, token=token)
                else:
                    await store.resolve(record.id, not_charged=True)

    asyncio.run(settle())


def put(path: Path, job: str, state: JobState) -> None:
    """Put a job of a store into a state that is hard to get it into."""
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE smspartner_jobs SET state = ? WHERE id = ?", (state.value, job))


# --- batch run ------------------------------------------------------------------------------


@posix_only
def test_killed_again_and_again_and_gone_on_with(shell: Shell, tmp_path: Path) -> None:
    """`batch run`, killed at random moments and typed again, pays each job once and ends with 0."""
    chance = random.Random(5)
    numbers = [*range(1, 9)]
    write_jobs(tmp_path, *numbers)
    out = tmp_path / "out"
    for _ in range(3):
        with smspartner(shell, *RUN) as process:
            rents, lines = len(shell.sandbox.rentals), count_lines(out)
            more = chance.randint(1, 4)
            until(
                lambda rents=rents, lines=lines, more=more, process=process: (  # type: ignore[misc]
                    process.poll() is not None
                    or len(shell.sandbox.rentals) >= rents + more
                    or count_lines(out) >= lines + 8 + more
                )
            )
            time.sleep(chance.random() * 0.02)
            process.kill()
        assert paid_for(shell) == sorted({*paid_for(shell)})
    finished(shell, *RUN)  # finds out what needs attention since the last kill
    settle_as_a_person(shell, out / "batch.db")
    code, _, err = finished(shell, *RUN)
    assert paid_for(shell) == numbers
    for n in numbers:
        path = out / f"job{n}.csv"
        if path.exists():
            assert path.read_text().count(NUMBER) == 20
        else:  # on its way when the process was killed, and served only once
            assert code == 1
            assert f"job{n}: " in err
    with Results(out / "results.jsonl") as results:
        assert {known.token for known in results.known.values()} == {
            rental.token for rental in shell.sandbox.rentals
        }


@posix_only
def test_stopped_it_drains_and_tells_the_tokens(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """After Ctrl-C all tokens are told and written down, and the same line goes on with them."""
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, 1, 2, 3)
    code, screen = on_terminal(shell, *RUN, react={"5.40 of 5.40": b"\x03"})
    assert code == 130
    for rental in shell.sandbox.rentals:
        assert f"token {rental.token}" in screen
    assert states_of(tmp_path / "out", "job1") == ["renting", "paid"]
    shell.sandbox._account._speed = 1e6
    code, out, _ = finished(shell, *RUN)
    assert code == 0
    assert "3: 3 done" in out
    assert paid_for(shell) == [1, 2, 3]
    before = shell.sandbox.requests.total()
    code, out, err = finished(shell, *RUN, "--json")
    assert code == 0
    assert json.loads(out)["done"] == 3
    assert "nothing left to do" in err
    assert shell.sandbox.requests.total() == before


@posix_only
def test_a_question_is_asked_once_for_new_rows_alone(shell: Shell, tmp_path: Path) -> None:
    """Rows added to the file are asked for and rented by the next run, and no old one again."""
    write_jobs(tmp_path, 1, limit="1.80")
    code, out, _ = finished(shell, *RUN, "--json")
    assert code == 0
    assert json.loads(out)["requests"] == shell.sandbox.requests.total()
    write_jobs(tmp_path, 1, 2, limit="1.80")
    code, screen = on_terminal(shell, *RUN[:-1], react={"[y/N]": b"y\n"})
    assert code == 0
    assert "Rent 1 job for 1.80?" in screen
    assert paid_for(shell) == [1, 2]


@posix_only
def test_failed_jobs_go_on_when_typed_again(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """A job that failed for want of money is rented by the next run; a paid one is not again."""
    shell = make_shell(speed=1e6, balance=Decimal("2.00"))
    write_jobs(tmp_path, 1, 2)
    code, out, err = finished(shell, *RUN)
    assert code == 1
    assert "NOT ENOUGH" in err
    assert "2: 1 done, 1 not rented" in out
    shell.sandbox._account.balance = Decimal(10)
    assert finished(shell, *RUN)[0] == 0
    assert paid_for(shell) == [1, 2]


@posix_only
def test_a_lost_store_pays_nothing_twice(shell: Shell, tmp_path: Path) -> None:
    """Where the store is gone, or another one is named, nothing is sent."""
    write_jobs(tmp_path, 1)
    assert finished(shell, *RUN)[0] == 0
    before = shell.sandbox.requests.total()
    code, _, err = finished(shell, *RUN, "--store", f"sqlite:///{tmp_path}/other.db")
    assert code == 1
    assert "tells of jobs that the store does not know: 'job1'" in err
    (tmp_path / "out" / "batch.db").unlink()
    code, _, err = finished(shell, *RUN)
    assert code == 1
    assert "this batch is kept in sqlite:///" in err
    assert shell.sandbox.requests.total() == before


def test_a_store_without_the_extra_is_refused(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is kept in a store is not gone on with by a command that cannot read it."""
    write_jobs(tmp_path, 1)
    monkeypatch.setattr(_cli_batch, "has_durable", lambda: False)
    monkeypatch.setattr(_cli_store, "has_durable", lambda: False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batch.db").touch()
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


def submit(shell: Shell, *options: str) -> Result:
    return shell.run(
        *("batch", "submit", "jobs.csv", "--out", ".", "--store", "sqlite:///jobs.db", *options)
    )


@posix_only
def test_submitted_jobs_are_done_by_a_worker_until_sigterm(shell: Shell, tmp_path: Path) -> None:
    """`worker` does what `batch submit` submitted, and ends with 0 on SIGTERM."""
    write_jobs(tmp_path, 1, 2, 3)
    assert "3 submitted" in submit(shell, "--yes").stdout
    with smspartner(shell, "worker", "--store", "sqlite:///jobs.db", *QUICKLY) as process:
        until(lambda: all((tmp_path / f"job{n}.csv").exists() for n in (1, 2, 3)))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert paid_for(shell) == [1, 2, 3]
    assert "is at work; its journal is " in err
    for rental in shell.sandbox.rentals:
        assert f"INFO rented: token {rental.token}" in err
    assert NUMBER not in err
    assert KEY not in err
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert (stand["jobs"], [*stand["states"]]) == (3, ["done"])
    assert Decimal(stand["paid"]) == Decimal("5.40")  # the vendor spells it in two ways


@posix_only
def test_a_worker_that_is_told_to_end_drains(shell: Shell, tmp_path: Path) -> None:
    """SIGTERM: the rent in flight is seen through, and the wait is left to the next worker."""
    write_jobs(tmp_path, 1, 2, 3)
    shell.sandbox.hold_next_rental()
    submit(shell, "--yes")
    command = ("worker", "--store", "sqlite:///jobs.db", "--concurrency", "1", *QUICKLY)
    with smspartner(shell, *command) as process:
        until(lambda: len(shell.sandbox.rentals) == 1)
        shell.sandbox.delay_next_reply("rent", seconds=2)
        until(lambda: len(shell.sandbox.rentals) == 2)  # charged, and not yet answered
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "its answer is awaited first" in err
    assert "Nothing is lost" in err
    held, drained = [rental.token for rental in shell.sandbox.rentals]
    assert f"INFO rented: token {drained}" in err
    assert len(shell.sandbox.rentals) == 2, "it began another rent"

    async def tokens() -> list[str | None]:
        async with Store("sqlite:///jobs.db") as store:
            return [record.token for record in await store.records()]

    assert set(asyncio.run(tokens())) == {held, drained, None}
    assert not shell.json("batch", "status", "--store", "sqlite:///jobs.db")["needs_attention"]
    shell.sandbox.make_ready(held)
    with smspartner(shell, *command) as process:
        until(lambda: all((tmp_path / f"job{n}.csv").exists() for n in (1, 2, 3)))
    assert paid_for(shell) == [1, 2, 3]


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
def test_submitting_asks_and_tells_the_limit(
    shell: Shell, at_terminal: None, tmp_path: Path, limit: str, words: str
) -> None:
    """`batch submit` tells what the workers may spend at most, and submits on yes alone."""
    write_jobs(tmp_path, 1, 2, limit=limit)
    result = shell.run(
        *("batch", "submit", "jobs.csv", "--out", ".", "--store", "sqlite:///jobs.db"), typed="n\n"
    )
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "jobs.db").exists()


def test_submitting_without_a_terminal_needs_a_yes(shell: Shell, tmp_path: Path) -> None:
    """Piped, `batch submit` submits nothing without `--yes`."""
    write_jobs(tmp_path, 1)
    assert submit(shell).exit_code == 1
    assert not (tmp_path / "jobs.db").exists()


# --- status and resolve -----------------------------------------------------------------------


def test_status_tells_what_needs_attention_and_how_to_settle_it(
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


def test_status_tells_how_what_failed_goes_on(shell: Shell, tmp_path: Path) -> None:
    """The line that `batch status` tells lets all failed jobs go on, and no other."""
    write_jobs(tmp_path, 1, 2, 3)
    submit(shell, "--yes")
    for job in ("job1", "job3"):
        put(tmp_path / "jobs.db", job, JobState.FAILED)
    told = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stderr
    (line,) = re.findall(r"^  smspartner (batch resume .*)$", told, re.MULTILINE)
    assert shlex.split(line)[2:4] == ["job1", "job3"]
    assert shell.run(*shlex.split(line)).exit_code == 0
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert [*stand["states"]] == ["queued"]
    refused = shell.run("batch", "resume", "job2", "--store", "sqlite:///jobs.db")
    assert refused.exit_code == 1
    assert "QUEUED, not FAILED; nothing was done" in refused.stderr


def test_resume_of_a_batch_without_a_store_tells_what_does_it(shell: Shell, tmp_path: Path) -> None:
    """There it is `batch run`, typed again."""
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.NOT_RENTED, "c", message="too dear")
    result = shell.run("batch", "resume", "c", "--out", "out")
    assert result.exit_code == 1
    assert "`batch run` again" in result.stderr


def test_status_of_a_batch_without_a_store(shell: Shell, tmp_path: Path) -> None:
    """`batch status --out` reads `results.jsonl` where there is no store, also during a run."""
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.RENTING, "a", price="1.80")
        results.add(Line.RENTING, "b", price="2.00")
        results.add(Line.PAID, "b", token="tok")
        results.add(Line.NOT_RENTED, "c", message="too dear")
        stand = shell.json("batch", "status", "--out", "out")
        attention = stand["needs_attention"][0].pop("attention")
        assert attention["price"] == "1.80"
        assert attention["journal"] == "out/results.jsonl"
        assert [line["state"] for line in attention["journal_lines"]] == ["renting"]
        assert stand == {
            "jobs": 3,
            "states": {
                "needs_attention": {"jobs": 1, "paid": "0"},
                "waiting": {"jobs": 1, "paid": "2.00"},
                "not_rented": {"jobs": 1, "paid": "0"},
            },
            "paid": "2.00",
            "failed": [
                {"id": "c", "state": "not_rented", "token": None, "paid": "0", "error": "too dear"}
            ],
            "needs_attention": [
                {"id": "a", "state": "needs_attention", "token": None, "paid": "0", "error": None}
            ],
        }


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
