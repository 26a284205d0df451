"""`smspartner batch run`, typed again: nothing is paid twice, and a person settles a doubt."""

from __future__ import annotations

import errno
import json
import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shell import NUMBER, Shell

from smspartner_async import PollingPolicy, _files

from .test_run import run, stand_of, write_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("dbos")

from smspartner_async.cli._batch import run as batch_run
from smspartner_async.durable._database import urls
from smspartner_async.durable._database.agreements import agree


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick = PollingPolicy(first_interval=0.02, max_interval=0.02)
    monkeypatch.setattr(batch_run, "_POLLING", quick)
    monkeypatch.chdir(tmp_path)


# --- continuing -----------------------------------------------------------------------------


def test_a_finished_batch_sends_nothing(shell: Shell, tmp_path: Path) -> None:
    """Typed again when all is done, the command sends nothing and ends with 0."""
    write_jobs(tmp_path, 1, 2)
    run(shell, "--yes")
    before = shell.sandbox.requests.total()
    result = run(shell)
    assert result.exit_code == 0
    assert "nothing left to do" in result.stderr
    assert shell.sandbox.requests.total() == before


def test_new_rows_are_rented_and_old_ones_are_not(shell: Shell, tmp_path: Path) -> None:
    """Rows added to the file are rented by the next run, and no old one again."""
    write_jobs(tmp_path, 1, 2)
    run(shell, "--yes")
    write_jobs(tmp_path, 1, 2, 3)
    assert run(shell, "--yes").exit_code == 0
    assert shell.sandbox.requests["rent"] == 3


def test_a_paid_job_is_never_rented_again(shell: Shell, tmp_path: Path) -> None:
    """A job whose token is known continues to its file, without a question."""
    write_jobs(tmp_path, 1)
    doubtful(shell)
    resolve(shell, "job1", "--token", shell.sandbox.rentals[0].token)
    result = run(shell)
    assert result.exit_code == 0
    assert shell.sandbox.requests["rent"] == 1
    assert (tmp_path / "out" / "job1.csv").read_text().count(NUMBER) == 20


def test_a_question_is_asked_once_for_new_rows_alone(
    shell: Shell, at_terminal: None, tmp_path: Path
) -> None:
    """With rows added to the file, the question is about these alone."""
    write_jobs(tmp_path, 1, limit="1.80")
    run(shell, "--yes")
    write_jobs(tmp_path, 1, 2, limit="1.80")
    result = run(shell, typed="y\n")
    assert result.exit_code == 0
    assert "Rent 1 job for 1.80?" in result.stderr
    assert shell.sandbox.requests["rent"] == 2


def test_a_rental_that_failed_is_not_rented_again(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """A job whose rental the vendor failed is reported, ends with 3, and is never rented again."""
    shell = make_shell(fail_every=1)
    write_jobs(tmp_path, 1)
    for _ in range(2):
        result = run(shell, "--yes")
        assert result.exit_code == 3
        assert "job1: Rental " in result.stderr
        assert "1 paid for without a file" in result.stdout
    assert shell.sandbox.requests["rent"] == 1
    assert shell.run("batch", "resolve", "job1", "--give-up", "--out", "out").exit_code == 0
    assert run(shell).exit_code == 0


def test_a_job_that_changed_since_it_was_paid_is_refused(shell: Shell, tmp_path: Path) -> None:
    """Another targeting under the id of a paid job is refused before anything is sent."""
    write_jobs(tmp_path, 1)
    run(shell, "--yes")
    text = (tmp_path / "jobs.csv").read_text()
    (tmp_path / "jobs.csv").write_text(text.replace("60200:20", "60200:21"))
    before = shell.sandbox.requests.total()
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "In the store with other content: 'job1' (differs in volumes)" in result.stderr
    assert shell.sandbox.requests.total() == before


# --- doubt ----------------------------------------------------------------------------------


def doubtful(shell: Shell) -> None:
    """Run the batch, and lose the answer to its first rent."""
    shell.sandbox.lose_next_reply("rent")
    result = run(shell, "--yes", "--concurrency", "1")
    assert result.exit_code == 4, result.output


def test_a_job_in_doubt_is_left_alone_and_reported(shell: Shell, tmp_path: Path) -> None:
    """A rent whose answer was lost is not repeated, also out of the list; the exit code is 4."""
    write_jobs(tmp_path, 1, 2)
    doubtful(shell)
    write_jobs(tmp_path, 2)
    result = run(shell)
    assert result.exit_code == 4
    assert shell.sandbox.requests["rent"] == 2
    for line in ("Job +job1", "Rent +begun 20.*UTC, .*", "Price +1.80"):
        assert re.search(f"^{line}$", result.stderr, re.MULTILINE), line
    assert "smspartner batch resolve job1 --not-charged --out out" in result.stderr
    assert "2: 1 done, 1 perhaps paid for" in result.stdout


def test_a_person_may_settle_that_nothing_was_charged(shell: Shell, tmp_path: Path) -> None:
    """After `batch resolve --not-charged` the next run rents the job."""
    write_jobs(tmp_path, 1)
    doubtful(shell)
    assert resolve(shell, "job1", "--not-charged").exit_code == 0
    assert run(shell, "--yes").exit_code == 0
    assert shell.sandbox.requests["rent"] == 2


def test_a_person_may_give_a_job_up(shell: Shell, tmp_path: Path) -> None:
    """After `batch resolve --give-up` a job is left alone for good."""
    write_jobs(tmp_path, 1)
    doubtful(shell)
    assert resolve(shell, "job1", "--give-up").exit_code == 0
    assert run(shell, "--yes").exit_code == 0
    assert shell.sandbox.requests["rent"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("job1",), 2, "exactly one of"),
        (("job1", "--give-up", "--not-charged"), 2, "exactly one of"),
        (("job1", "--token", " "), 2, "not blank"),
        (("job1", "--give-up", "--force"), 2, "--force goes with --not-charged"),
        (("job9", "--not-charged"), 1, "There is no job 'job9' in this store"),
        (("job1", "--not-charged"), 1, "Job 'job1' is DONE"),
    ],
)
def test_what_cannot_be_settled_is_refused(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """`resolve` settles one job in one way, takes back no token, and changes nothing otherwise."""
    write_jobs(tmp_path, 1)
    run(shell, "--yes")
    before = stand_of(shell)
    result = resolve(shell, *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.replace("│", "").split())
    assert stand_of(shell) == before


def test_resolve_makes_no_batch(shell: Shell, tmp_path: Path) -> None:
    """`resolve` in a folder without a batch says so, and makes none."""
    result = resolve(shell, "job1", "--not-charged")
    assert result.exit_code == 1
    assert "No batch was run" in result.stderr
    assert not (tmp_path / "out").exists()


def resolve(shell: Shell, *arguments: str) -> Any:
    return shell.run("batch", "resolve", *arguments, "--out", "out")


@pytest.mark.parametrize("what", ["the store", "the lock"])
def test_a_disk_that_refuses_what_a_run_begins_with_hides_nothing(
    make_shell: Callable[..., Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is full or read-only: what is paid without a file is read from a copy, and counted."""
    shell = make_shell(speed=1e6, fail_every=1)
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 3
    owner, name = {
        "the store": (urls, "check_writable"),
        "the lock": (_files, "open_file"),
    }[what]
    real: Any = getattr(owner, name)

    def refused(given: Any, *more: Any) -> Any:
        inside = Path("out").resolve() in Path(given).resolve().parents
        if inside and more != (_files.READ,):
            raise OSError(errno.EROFS, "Read-only file system", str(given))
        return real(given, *more)

    monkeypatch.setattr(owner, name, refused)
    before = shell.sandbox.requests.total()
    result = run(shell, "--yes")
    assert result.exit_code == 3, result.output
    assert "Read-only file system" in result.stderr
    assert re.search(r"Make (the|its file and) folder writable", result.stderr)
    assert re.search(r"^Jobs +1: 1 paid for without a file$", result.stdout, re.MULTILINE)
    assert shell.sandbox.requests.total() == before
    status = shell.run("batch", "status", "--out", "out")
    assert status.exit_code == 0, status.output
    assert re.search(r"^│ failed +│ +1 │ +1.80 │$", status.stdout, re.MULTILINE)
    assert ("What follows is read from a copy" in status.stderr) == (what == "the store")
    refuse = {"the store": (["resolve", "job1", "--give-up"], ["resume", "job1"], ["clean"])}
    for words in refuse.get(what, (["clean"],)):
        result = shell.run("batch", *words, "--out", "out")
        assert result.exit_code == 3, result.output
        assert "Read-only file system" in result.stderr
        assert "In out: 1 job paid for without a file." in result.stderr


def test_a_dry_run_says_what_is_paid_for_without_a_file(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """It rents nothing; its exit code is that of what earlier runs have left, and it says so."""
    shell = make_shell(speed=1e6, fail_every=1)
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 3
    write_jobs(tmp_path, 1, 2)
    result = run(shell, "--dry-run")
    assert result.exit_code == 3
    assert "In out: 1 job paid for without a file.\nNothing was rented" in result.stderr
    assert shell.sandbox.requests["rent"] == 1


@pytest.mark.parametrize("problem", ["no file", "a bad row", "no rows", "no key", "a bad suffix"])
def test_what_is_in_doubt_is_shown_whatever_keeps_the_run_from_beginning(
    shell: Shell, tmp_path: Path, problem: str
) -> None:
    """A list that cannot be read, or a key that is missing, hides nothing that is in the folder."""
    write_jobs(tmp_path, 1)
    doubtful(shell)
    before = shell.sandbox.requests.total()
    if problem == "no file":
        Path("jobs.csv").unlink()
    elif problem == "a bad row":
        Path("jobs.csv").write_text("id\n1\n")
    elif problem == "no rows":
        write_jobs(tmp_path)
    options = ("--suffix", "/") if problem == "a bad suffix" else ()
    env = {"SMSPARTNER_API_KEY": None} if problem == "no key" else {}
    result = shell.run("batch", "run", "jobs.csv", "--out", "out", "--yes", *options, env=env)
    assert result.exit_code == 4, result.output
    assert ("Error: " in result.stderr) == (problem != "no rows")
    assert re.search(r"^Jobs +1: 1 perhaps paid for$", result.stdout, re.MULTILINE)
    assert "smspartner batch resolve job1 --not-charged --out out" in result.stderr
    assert shell.sandbox.requests["rent"] == 1
    assert shell.sandbox.requests.total() == before + (problem == "no rows")


def test_status_of_a_file_that_cannot_be_read_either_is_one_error(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store cannot be copied, the error is that of the store, and says what to do."""
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 0
    Path("out", "batch.db").write_bytes(b"no database" * 100)
    status = shell.run("batch", "status", "--out", "out")
    assert status.exit_code == 1
    assert "file is not a database" in status.stderr
    assert "read from a copy" not in status.stderr
    error = json.loads(shell.run("batch", "status", "--out", "out", "--json").stdout)["error"]
    assert error["money"].endswith("what is in doubt, stays as it is."), "nobody knows it now"


# --- an older copy of the store beside its journal ------------------------------------------


@pytest.mark.parametrize("agreed", [False, True])
def test_an_older_copy_of_the_store_says_what_its_journal_knows(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, agreed: bool
) -> None:
    """Rows that are paid by the journal are not priced, asked for or rented again, and counted.

    The copy is of before, or after, the run agreed to them. On a read-only disk `batch status`
    counts them as well.
    """

    def refused(path: Path, *_: Any) -> None:
        if path == database:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    write_jobs(tmp_path, 1, 2)
    database, copy = tmp_path / "out" / "batch.db", tmp_path / "copy.db"
    do = batch_run.BatchRun._do

    async def watched(one: Any, store: Any, work: Any, *args: Any) -> None:
        if agreed:
            await do(one, store, work, *args)
        if work is agree:
            backup(database, copy)
        if not agreed:
            await do(one, store, work, *args)

    monkeypatch.setattr(batch_run.BatchRun, "_do", watched)
    assert run(shell, "--yes").exit_code == 0
    monkeypatch.setattr(batch_run.BatchRun, "_do", do)
    requests = shell.sandbox.requests.copy()
    for read_only in (False, True):
        restore(copy, database)
        with monkeypatch.context() as patch:
            if read_only:
                patch.setattr(urls, "check_writable", refused)
            status = shell.json("batch", "status", "--out", "out")
        assert (Decimal(status["paid"]), len(status["records"])) == (Decimal("3.60"), 2)
    restore(copy, database)
    result = run(shell)
    assert result.exit_code == 0, result.output
    assert "'job1', 'job2'. None is rented again." in " ".join(result.stderr.split())
    assert re.search(r"^Jobs +2: 2 done\nPaid +3.60$", result.stdout, re.MULTILINE)
    assert not {"price", "rent", "download"} & {*(shell.sandbox.requests - requests)}


def backup(one: Path, other: Path) -> None:
    with closing(sqlite3.connect(one)) as source, closing(sqlite3.connect(other)) as target:
        source.backup(target)


def restore(copy: Path, database: Path) -> None:
    for path in database.parent.glob(f"{database.name}-*"):
        path.unlink()
    database.write_bytes(copy.read_bytes())
