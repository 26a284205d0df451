"""`smspartner worker`: what it does until it is stopped, what it logs, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from shell import KEY, NUMBER, Shell, posix_only

from .batch.test_commands import SUBMIT, smspartner, submit
from .batch.test_run import QUICKLY, write_jobs
from .batch.test_run_stops import RUN, paid_for, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytest.importorskip("dbos")

from smspartner_async.durable import Store, StoreError


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(make_shell: Callable[..., Shell]) -> Shell:
    return make_shell(speed=1e6)


@posix_only
def test_submitted_jobs_are_done_by_a_worker_until_sigterm(shell: Shell, tmp_path: Path) -> None:
    """`worker` does what `batch submit` submitted, and ends with 0 on SIGTERM."""
    write_jobs(tmp_path, 1, 2, 3)
    assert "3 submitted" in submit(shell, "--yes").stdout
    worker = ("worker", "--store", "sqlite:///jobs.db", "--no-limit", *QUICKLY)
    with smspartner(shell, *worker) as process:
        until(lambda: all((tmp_path / f"job{n}.csv").exists() for n in (1, 2, 3)))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert paid_for(shell) == [1, 2, 3]
    assert "is at work; its journal is " in err
    for n in (1, 2, 3):
        assert f"INFO job 'job{n}' is done: {tmp_path / f'job{n}.csv'}" in err
    for rental in shell.sandbox.rentals:
        assert f"INFO rented: token {rental.token}" in err
    assert NUMBER not in err
    assert KEY not in err
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert (stand["jobs"], [*stand["states"]]) == (3, ["done"])
    assert Decimal(stand["paid"]) == Decimal("5.40")  # the vendor spells it in two ways


@posix_only
def test_a_worker_that_is_stopped_drains(shell: Shell, tmp_path: Path) -> None:
    """SIGTERM: the rent in flight is allowed to finish, and the wait is left to the next worker."""
    write_jobs(tmp_path, 1, 2, 3)
    shell.sandbox.hold_next_rental()
    submit(shell, "--yes")
    command = ("worker", "--store", "sqlite:///jobs.db", "--no-limit", "--concurrency", "1")
    with smspartner(shell, *command, *QUICKLY) as process:
        until(lambda: len(shell.sandbox.rentals) == 1)
        shell.sandbox.delay_next_reply("rent", seconds=2)
        until(lambda: len(shell.sandbox.rentals) == 2)  # charged, and not yet answered
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "its answer is awaited first" in err
    assert "Stopped. The next worker continues 3 jobs." in err
    held, drained = [rental.token for rental in shell.sandbox.rentals]
    assert f"INFO rented: token {drained}" in err
    assert len(shell.sandbox.rentals) == 2, "it began another rent"

    async def tokens() -> list[str | None]:
        async with Store("sqlite:///jobs.db") as store:
            return [record.token for record in await store.records()]

    assert set(asyncio.run(tokens())) == {held, drained, None}
    assert not shell.json("batch", "status", "--store", "sqlite:///jobs.db")["needs_attention"]
    shell.sandbox.make_ready(held)
    with smspartner(shell, *command, *QUICKLY) as process:
        until(lambda: all((tmp_path / f"job{n}.csv").exists() for n in (1, 2, 3)))
    assert paid_for(shell) == [1, 2, 3]


@posix_only
def test_a_worker_logs_what_failed_and_how_to_resume_it(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """A job that failed is logged with its cause; at the end stands the command that resumes it."""
    shell = make_shell(speed=1e6, fail_every=1)
    write_jobs(tmp_path, 1, limit="1.80")
    submit(shell, "--yes")
    lines = []
    with smspartner(shell, "worker", "--store", "sqlite:///jobs.db", *QUICKLY) as process:
        for line in process.stderr:
            lines.append(line)
            if "job 'job1' failed" in line:
                process.send_signal(signal.SIGTERM)
    err = "".join(lines)
    assert process.returncode == 0
    assert re.search(r"WARNING job 'job1' failed: Rental \S+ failed", err)
    assert "Stopped. No job is open." in err
    assert "  smspartner batch resume job1 --store sqlite:///jobs.db" in err


def test_nothing_is_rented_without_a_limit_by_those_who_ask_nobody(
    shell: Shell, tmp_path: Path
) -> None:
    """`submit` and `worker` refuse jobs without a max_total, unless `--no-limit` is given."""
    write_jobs(tmp_path, 1, 2)
    result = shell.run(*SUBMIT, "--yes")
    assert result.exit_code == 1
    assert "These rows have no max_total: 'job1', 'job2'. Nothing was submitted." in result.stderr
    assert not (tmp_path / "jobs.db").exists()
    submit(shell, "--yes")
    result = shell.run("worker", "--store", "sqlite:///jobs.db")
    assert result.exit_code == 1
    assert "These jobs have no max_total: 'job1', 'job2'. Nothing was rented." in result.stderr
    assert not shell.sandbox.requests


@pytest.mark.usefixtures("_no_log_handler_left")
@pytest.mark.parametrize("options", [(), ("--no-limit",)])
def test_limits_are_required_also_of_what_is_submitted_later(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Unless `--no-limit` is given. A store that fails ends the worker with 1 and one sentence."""
    asked = []

    def worker(*_: object, require_max_total: bool, **__: object) -> None:
        asked.append(require_max_total)
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Store, "worker", worker)
    result = shell.run("worker", "--store", "sqlite:///jobs.db", *options)
    assert asked == [not options]
    assert result.exit_code == 1
    assert result.stderr.strip() == "Error: The disk is full."


def test_a_worker_does_not_continue_a_batch(shell: Shell, tmp_path: Path) -> None:
    """What a run of a batch agreed to ends with it: no worker takes its store over."""
    write_jobs(tmp_path, 1, limit="1.80")
    assert shell.run(*RUN).exit_code == 0
    result = shell.run("worker", "--store", "sqlite:///out/batch.db")
    assert result.exit_code == 1
    assert "belongs to a batch. Nothing was sent. Continue it with `smspartner batch run`" in (
        result.stderr
    )


@pytest.fixture
def _no_log_handler_left() -> Iterator[None]:
    """Take away the handler that `worker` gives the log of its process."""
    log = logging.getLogger("smspartner_async")
    before, level = log.handlers[:], log.level
    yield
    log.handlers[:] = before
    log.setLevel(level)


@posix_only
@pytest.mark.usefixtures("_no_log_handler_left")
def test_a_worker_without_jobs_waits_for_some_until_it_is_stopped(
    shell: Shell, tmp_path: Path
) -> None:
    """It says who it is and where its journal is; stopped, it has nothing to hand over."""

    def stop_when_at_work() -> None:
        until(lambda: any((tmp_path / "journals").glob("me.jsonl")))
        until(lambda: bool(shell.sandbox.requests["credits"]))  # it has seen that the key is taken
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_when_at_work)
    stopping.start()
    result = shell.run(
        *("worker", "--store", "sqlite:///jobs.db", "--id", "me", "--journal", "journals")
    )
    stopping.join()
    assert result.exit_code == 0
    assert "Worker me is at work; its journal is journals/me.jsonl." in result.stderr
    assert "Stopping" in result.stderr
    assert shell.sandbox.rentals == ()
