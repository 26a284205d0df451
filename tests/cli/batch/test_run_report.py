"""What `batch run` says where no table can move: a line a minute, such as a log can take."""

from __future__ import annotations

import asyncio
import errno
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dbos")

from smspartner_async.cli._batch import run as batch_run
from smspartner_async.cli._batch.progress import Progress
from smspartner_async.cli._batch.prompts import RunOptions
from smspartner_async.cli._display import Display

from .test_run import run, write_jobs

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from shell import Shell

OPTIONS = RunOptions(
    base_url=None,
    concurrency=1,
    max_requests_per_minute=300,
    max_total=None,
    yes=True,
    dry_run=False,
    moved=False,
)
FACTS = "0 of 2 jobs ended, spent 0.00 of 3.60, requests 7, time so far"


def shown_by(
    display: Display, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[batch_run.BatchRun, Progress]:
    """Return a run that shows its progress here, and a progress on the clock of the loop."""
    monkeypatch.setenv("SMSPARTNER_API_KEY", "key")
    clock = asyncio.get_running_loop().time
    return (
        batch_run.BatchRun(folder, OPTIONS, display),
        Progress(2, Decimal("3.60"), lambda: 7, clock=clock),
    )


@pytest.mark.looptime
async def test_a_line_is_written_each_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a log, progress is one line each minute, on stderr, and none after the run."""
    monkeypatch.setenv("COLUMNS", "200")
    batch, progress = shown_by(Display(), tmp_path, monkeypatch)
    with batch._shown(progress):
        await asyncio.sleep(59)
        assert capsys.readouterr() == ("", "")
        await asyncio.sleep(2)
        line = f"{FACTS} 1:00, time left not known yet\n"
        assert capsys.readouterr() == ("", line)
        await asyncio.sleep(120)
        lines = "".join(f"{FACTS} {n}:00, time left not known yet\n" for n in (2, 3))
        assert capsys.readouterr() == ("", lines)
    await asyncio.sleep(120)
    assert capsys.readouterr() == ("", "")


@pytest.mark.looptime
async def test_a_terminal_has_its_table_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: tuple[Display, io.StringIO]
) -> None:
    """Where the table moves, no lines are written beside it."""
    display, screen = terminal
    batch, progress = shown_by(display, tmp_path, monkeypatch)
    with batch._shown(progress):
        await asyncio.sleep(181)
    assert "being made by the vendor" in screen.getvalue()
    assert "jobs ended" not in screen.getvalue()


def test_a_run_writes_these_lines(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command writes them beside its result, for as long as it rents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch_run, "_REPORT_EVERY", 0.01)
    write_jobs(tmp_path, 1, 2)
    result = run(shell, "--yes")
    assert result.exit_code == 0
    assert " of 2 jobs ended, spent " in result.stderr
    assert "jobs ended" not in result.stdout


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), BrokenPipeError()])
@pytest.mark.parametrize("refuses", ["stdout", "stderr"])
@pytest.mark.parametrize("option", ["--json", "--yes"])
def test_an_end_that_nobody_can_see_has_its_exit_code(
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: OSError,
    refuses: str,
    option: str,
) -> None:
    """A doubt is 4 also where stdout or stderr takes nothing; JSON is one document, or none."""

    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    assert run(shell, "--yes").exit_code == 4
    (tmp_path / "jobs.csv").unlink()
    names = {"stdout": ("facts", "document"), "stderr": ("failed", "doubt", "note")}[refuses]
    for name in names:
        monkeypatch.setattr(Display, name, refused)
    result = run(shell, option, "--yes")
    assert (result.exit_code, result.exception and type(result.exception)) == (4, SystemExit)
    documents = result.stdout.count('"exit_code": 4')
    assert documents == (option == "--json" and refuses == "stderr")
