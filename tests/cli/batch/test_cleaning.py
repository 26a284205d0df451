"""`smspartner batch clean` shows what it would remove, and asks first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .test_run import run, stand_of, write_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from shell import Shell

pytest.importorskip("dbos")


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def clean(shell: Shell, *options: str, typed: str = "") -> tuple[int, str, str]:
    result = shell.run("batch", "clean", "--out", "out", *options, typed=typed)
    return result.exit_code, result.stdout, result.stderr


def test_what_would_be_removed_is_shown_and_asked_first(
    shell: Shell, at_terminal: None, tmp_path: Path
) -> None:
    """No removes nothing; yes does; a batch that was cleaned is done, and pays nothing again."""
    write_jobs(tmp_path, 1, 2)
    assert run(shell, "--yes").exit_code == 0
    part = tmp_path / "out" / "job1.csv.part"
    part.write_text("+33")
    part.with_name("job1.csv.part.json").write_text(
        json.dumps({"token": stand_of(shell)["job1"]["token"]}) + "\n"
    )
    code, out, shown = clean(shell, typed="n\n")
    assert (code, out) == (1, "")
    assert "Jobs      2 to clean" in shown
    assert "Parts     1 to remove" in shown
    assert "Journals  1 to clean" in shown
    assert "out/job1.csv.part" in shown
    assert "Nothing was removed." in shown
    assert part.exists()
    code, out, _ = clean(shell, typed="y\n")
    assert (code, out.split()) == (0, ["Cleaned", "2", "jobs"])
    assert not part.exists()
    assert b"60200" not in (tmp_path / "out" / "batch.db").read_bytes()
    assert "There is nothing to remove." in clean(shell)[2]
    again = run(shell, "--yes")
    assert again.exit_code == 0, again.output
    assert "2: 2 done" in again.stdout
    assert shell.sandbox.requests["rent"] == 2


def test_without_a_terminal_and_a_yes_nothing_is_removed(shell: Shell, tmp_path: Path) -> None:
    """With `--yes` programs read one document: what was cleaned, and what stays."""
    write_jobs(tmp_path, 1)
    shell.sandbox.fail_next_rental()
    assert run(shell, "--yes").exit_code == 3
    write_jobs(tmp_path, 2)
    assert run(shell, "--yes").exit_code == 3
    code, out, shown = clean(shell)
    assert (code, out) == (1, "")
    assert "there is no terminal to ask on. Nothing was removed" in shown
    code, out, _ = clean(shell, "--yes", "--json")
    done = json.loads(out)
    assert (code, done["cleaned"], done["kept"], done["parts"]) == (0, ["job2"], ["job1"], [])
    assert run(shell, "--yes").exit_code == 3, "what is paid without a file is still reported"


def test_a_cleaned_id_that_comes_back_is_named(shell: Shell, tmp_path: Path) -> None:
    """Its row may ask for something new: it is not paid, and the run says so."""
    write_jobs(tmp_path, 1, 2)
    assert run(shell, "--yes").exit_code == 0
    assert "cleaned" not in run(shell, "--yes").stderr
    assert clean(shell, "--yes")[0] == 0
    write_jobs(tmp_path, 2, 3)
    again = run(shell, "--yes")
    assert again.exit_code == 0, again.output
    said = " ".join(again.stderr.split())
    assert "Paid and cleaned before, and not rented again: 'job2'." in said
    assert "what is new needs a new id" in said
    assert shell.sandbox.requests["rent"] == 3
