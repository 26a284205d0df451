"""The folder of a batch: who may use it, what release 0.1 left in it, and whether it was moved."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smspartner_async.cli._batch.folder import (
    BatchFolderError,
    copy_store,
    is_moved,
    locked,
    settle_in,
)

from .test_run import run, write_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from shell import Shell

pytest.importorskip("dbos")


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(make_shell: Callable[..., Shell]) -> Shell:
    return make_shell(speed=1e6)


def write_results(*lines: dict[str, Any]) -> None:
    """Write the file that release 0.1 kept in the folder of a batch."""
    Path("out").mkdir(exist_ok=True)
    text = "".join(json.dumps({**line, "at": "2026-01-02T03:04:05+00:00"}) + "\n" for line in lines)
    Path("out", "results.jsonl").write_text(text + '{"id": "cut')


def test_a_second_run_in_the_folder_is_refused(shell: Shell, tmp_path: Path) -> None:
    """While a run has the folder, another one is one error, and sends nothing."""
    write_jobs(tmp_path, 1)
    with locked(tmp_path / "out"):
        result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "Another run works in out right now. Nothing was sent." in result.stderr
    assert not shell.sandbox.requests


@pytest.mark.parametrize("what", ["file", "dangling link"])
def test_what_is_no_folder_is_refused(shell: Shell, tmp_path: Path, what: str) -> None:
    """An `--out` that is a file, or a link to nothing, is one sentence, and nothing is sent."""
    write_jobs(tmp_path, 1)
    Path("out").touch() if what == "file" else Path("out").symlink_to("nowhere")
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "out is no folder. Nothing was sent. Give --out another name." in result.stderr
    assert not shell.sandbox.requests


def test_a_disk_that_takes_no_folder_says_what_to_do(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only disk: what it means for the money, and one advice."""

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    write_jobs(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "No space left on device. Nothing was sent. Make the folder writable" in result.stderr


def test_a_disk_that_does_not_take_where_the_folder_is_is_named(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while the prices are read: one sentence with the file, and no money."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_jobs(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        result = run(shell, "--yes")
    assert result.exit_code == 1
    assert result.stderr.endswith(f"Error: No space left on device: {Path('out/batch.lock')}\n")
    assert shell.sandbox.requests["rent"] == 0


def test_a_run_of_release_0_1_locks_the_folder_too(shell: Shell, tmp_path: Path) -> None:
    """What release 0.1 locks is locked here, too: its `results.jsonl`, where there is one."""
    write_jobs(tmp_path, 1)
    write_results({"state": "begun"})
    with locked(tmp_path / "out"):
        Path("out", "batch.lock").unlink()
        with pytest.raises(BatchFolderError, match="Another run"), locked(Path("out")):
            pass


PAID = {"id": "job1", "state": "paid", "token": "tok"}
DONE = {"id": "job2", "state": "done"}
GIVEN_UP = {"id": "job3", "state": "given_up"}
FINISH = "Finish it with that release (pip install 'smspartner_async<0.2'"
FINISHED = "Whatever it paid for has its file, or was given up. To rent other rows, use another"
ELSEWHERE = {"state": "begun", "store": "postgresql://me@db/x"}
GONE = {"state": "begun", "store": "sqlite:////old/out/batch.db"}


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ([ELSEWHERE, DONE], 1, "x. Nothing was sent. Run them with: smspartner worker --store pos"),
        ([ELSEWHERE, PAID], 3, "x (1 job paid for without a file). Nothing was sent. Run them wit"),
        ([GONE], 1, "out/batch.db is gone, and it knows what is paid for. Nothing was sent. Put"),
        ([GONE, PAID], 3, "knows what is paid for (1 job paid for without a file). Nothing was se"),
        ([PAID], 3, "without a store (1 job paid for without a file). Nothing was sent. Finish it"),
        ([DONE, {**PAID, "state": "failed"}], 3, FINISH),
        ([PAID, {"id": "job9", "state": "renting"}], 4, FINISH),
        ([{"id": "job9", "state": "unknown"}], 4, "(1 job may have been paid for). Nothing was"),
        ([DONE], 1, FINISHED),
        ([GIVEN_UP, DONE, {"id": "job9", "state": "not_rented"}], 1, FINISHED),
    ],
)
def test_what_release_0_1_knows_elsewhere_is_not_rented_again(
    shell: Shell, tmp_path: Path, lines: list[dict[str, Any]], code: int, words: str
) -> None:
    """A folder of 0.1 whose jobs are known elsewhere is not priced; the error says what to do.

    Its exit code says what 0.1 has left: a doubt, or what is paid for and has no file.
    """
    write_jobs(tmp_path, 1)
    write_results(*lines)
    before = Path("out", "results.jsonl").read_bytes()
    for result in (run(shell, "--yes"), shell.run("batch", "status", "--out", "out")):
        assert result.exit_code == code
        assert words in result.stderr
    assert not shell.sandbox.requests
    assert Path("out", "results.jsonl").read_bytes() == before


def test_a_store_elsewhere_is_not_taken_for_the_folder_s_own(shell: Shell, tmp_path: Path) -> None:
    """The name of a store elsewhere may be that of a folder's own; its jobs are not lost."""
    write_jobs(tmp_path, 1)
    elsewhere = tmp_path / "shared" / "batch.db"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    for store in (f"sqlite:///{elsewhere}", "postgresql://me@db/batch.db"):
        write_results({"state": "begun", "store": store}, DONE)
        result = run(shell, "--yes")
        assert result.exit_code == 1
        said = " ".join(result.stderr.split())
        assert f"Run them with: smspartner worker --store {store}" in said
    assert not shell.sandbox.requests


@pytest.mark.parametrize("bad", ["{]", '"word"', "[" * 10_000, ""])
def test_a_line_of_release_0_1_that_cannot_be_read_may_be_of_a_payment(
    shell: Shell, tmp_path: Path, bad: str
) -> None:
    """It is a doubt, unless 0.1 has marked it as cut off; then it was never relied on."""
    write_jobs(tmp_path, 1)
    write_results({"state": "begun"})
    text = Path("out", "results.jsonl").read_text()
    Path("out", "results.jsonl").write_text(f"{bad}\n{text}")
    result = run(shell, "--yes")
    assert result.exit_code == 4
    assert FINISH in result.stderr
    assert not shell.sandbox.requests
    Path("out", "results.jsonl").write_text(f'{bad}\n{{"state": "cut"}}\n{text}')
    assert run(shell, "--yes").exit_code == 0


def test_a_folder_of_release_0_1_that_paid_nothing_is_used(shell: Shell, tmp_path: Path) -> None:
    """Where 0.1 has rented nothing, there is nothing to lose: the batch is begun anew."""
    write_jobs(tmp_path, 1)
    write_results({"id": "job1", "state": "renting"}, {"id": "job1", "state": "not_rented"})
    assert run(shell, "--yes").exit_code == 0


def with_a_job(make_shell: Callable[..., Shell], folder: Path, trouble: str) -> Shell:
    """Write a list of one job, whose rent comes to no file, to no reply, or to a good end."""
    shell = make_shell(speed=1e6, fail_every=1 if trouble == "no file" else None)
    if trouble == "no reply":
        shell.sandbox.lose_next_reply("rent")
    write_jobs(folder, 1)
    return shell


@pytest.mark.parametrize(
    ("trouble", "code", "left"),
    [
        ("none", 1, "paid for. Nothing was sent."),
        ("no file", 3, "paid for (1 job paid for without a file). Nothing was sent."),
        ("no reply", 4, "paid for (1 job may have been paid for). Nothing was sent."),
    ],
)
def test_a_store_that_is_gone_pays_nothing_twice(
    make_shell: Callable[..., Shell], tmp_path: Path, trouble: str, code: int, left: str
) -> None:
    """Where the store is gone from beside its journals, nothing is sent, and they are counted."""
    shell = with_a_job(make_shell, tmp_path, trouble)
    assert run(shell, "--yes").exit_code == code - (code == 1)
    before = shell.sandbox.requests.total()
    Path("out", "batch.db").unlink()
    result = run(shell, "--yes")
    assert result.exit_code == code
    assert f"out/batch.db is gone, and it knows what is {left} Put it back" in result.stderr
    assert shell.sandbox.requests.total() == before


@pytest.mark.parametrize("damage", ["other bytes", "cut off", "a folder"])
@pytest.mark.parametrize(("trouble", "code"), [("no file", 3), ("no reply", 4)])
def test_of_a_store_that_nothing_can_read_the_journals_are_counted(
    make_shell: Callable[..., Shell], tmp_path: Path, damage: str, trouble: str, code: int
) -> None:
    """Where even a copy of the store cannot be read, what is paid or in doubt has its exit code."""
    shell = with_a_job(make_shell, tmp_path, trouble)
    assert run(shell, "--yes").exit_code == code
    before = shell.sandbox.requests.total()
    store = Path("out", "batch.db")
    content = store.read_bytes()
    store.unlink()
    if damage == "a folder":
        store.mkdir()
    else:
        store.write_bytes(content[:20_000] if damage == "cut off" else b"no database" * 100)
    for words in (["status"], ["resolve", "job1", "--give-up"], ["resume", "job1"], ["clean"], []):
        batch = ("batch", *words, "--out", "out", "--json")
        result = shell.run(*batch) if words else run(shell, "--yes", "--json")
        error = json.loads(result.stdout)["error"]
        assert (result.exit_code, error["exit_code"]) == (code, code), result.output
        left = {3: "(1 job paid for without a file)", 4: "(1 job may have been paid for)"}[code]
        assert f"{left}. Nothing was sent. Put the store back from a copy" in error["message"]
    assert shell.sandbox.requests.total() == before


@pytest.mark.parametrize("name", ["batch.db", "batch.lock", "results.jsonl", "Batch.DB"])
@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_no_job_takes_a_name_that_the_folder_needs(
    shell: Shell, tmp_path: Path, name: str, option: str
) -> None:
    """A job whose file would be the store, for example, is refused, and nothing is moved away."""
    job_id, _, suffix = name.rpartition(".")
    write_jobs(tmp_path, 1)
    jobs = Path("jobs.csv")
    jobs.write_text(jobs.read_text().replace("job1", job_id))
    result = run(shell, option, "--suffix", suffix)
    assert result.exit_code == 1
    assert f"keeps in out: '{job_id}'. Nothing was sent. Give them other ids" in result.stderr
    assert not shell.sandbox.requests


def test_a_folder_knows_whether_it_was_moved(tmp_path: Path) -> None:
    """A folder that was moved or copied is not where it was; one behind a symlink is."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "batch.lock").touch()
    assert not is_moved(folder, [folder / "a.csv"])
    assert is_moved(folder, [tmp_path / "old" / "a.csv"])
    settle_in(folder)
    (tmp_path / "link").symlink_to(folder)
    assert not is_moved(tmp_path / "link", [])
    shutil.copytree(folder, tmp_path / "copy")
    assert is_moved(tmp_path / "copy", [])
    folder.rename(tmp_path / "archive")
    assert is_moved(tmp_path / "archive", [])
    shutil.copytree(tmp_path / "archive", folder)
    assert is_moved(folder, []), "another folder at the same place"
    settle_in(folder)
    assert not is_moved(folder, [])


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_moved_folder_rents_nothing_without_the_option(
    shell: Shell, tmp_path: Path, how: str
) -> None:
    """A finished batch continues anywhere; new rows are rented only with `--moved`."""
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 0
    shutil.copytree("out", "new") if how == "copied" else Path("out").rename("new")
    there = ("--out", "new")
    result = run(shell, "--yes", *there)
    assert result.exit_code == 0
    assert "nothing left to do" in result.stderr
    write_jobs(tmp_path, 1, 2)
    result = run(shell, "--yes", *there)
    assert result.exit_code == 1
    assert "give --moved" in result.stderr
    assert shell.sandbox.requests["rent"] == 1
    assert run(shell, "--yes", "--moved", *there).exit_code == 0
    assert run(shell, "--yes", *there).exit_code == 0
    assert shell.sandbox.requests["rent"] == 2
    assert Path("new", "job2.csv").exists()


def test_what_is_paid_continues_in_the_moved_folder(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """A paid job whose folder was moved has its file in the new place, without a question."""
    shell = make_shell(fail_every=1)
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 3
    shell.sandbox.make_ready(shell.sandbox.rentals[0].token)
    Path("out").rename("new")
    result = run(shell, "--out", "new")
    assert result.exit_code == 0, result.output
    assert Path("new", "job1.csv").exists()
    assert not Path("out").exists()
    assert shell.sandbox.requests["rent"] == 1


def test_another_spelling_of_the_folder_or_suffix_is_no_change(
    shell: Shell, tmp_path: Path
) -> None:
    """Through a symlink, or with another suffix, a finished batch has nothing left to do."""
    write_jobs(tmp_path, 1)
    assert run(shell, "--yes").exit_code == 0
    Path("link").symlink_to("out")
    for options in (("--out", "link"), ("--suffix", "txt")):
        result = run(shell, "--yes", *options)
        assert result.exit_code == 0
        assert "nothing left to do" in result.stderr
    assert shell.sandbox.requests["rent"] == 1


def test_a_copy_of_a_store_has_what_is_not_in_its_file_yet(tmp_path: Path) -> None:
    """SQLite keeps what was written last beside the file; a copy without it would forget it."""
    into = tmp_path / "copy"
    into.mkdir()
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE paid (job)")
        store.execute("INSERT INTO paid VALUES ('job1')")
        store.commit()
        assert copy_store(tmp_path / "jobs.db", into)
    with closing(sqlite3.connect(into / "batch.db")) as copy:
        assert copy.execute("SELECT job FROM paid").fetchall() == [("job1",)]
