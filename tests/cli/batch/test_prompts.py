"""What a run shows before it pays, and what may have been paid for, with the lines that settle it.

`batch run` shows the latter beside its result, `batch status` as its result.
"""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dbos")

from smspartner_async.cli._batch.prompts import place
from smspartner_async.durable import JobState

from .test_commands import finished, put, submit
from .test_run import write_jobs
from .test_run_stops import RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from shell import Shell

ASKED = RUN[:-1]  # without its --yes
FOREIGN = (
    "60200: not among the targeted areas. The volume there may be ignored, or rented as well; the "
    "vendor does not document it."
)
# Each fact of a job in doubt, as it stands on a separate line.
FACTS = (
    r"Job       job1",
    r"Rent      begun 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, by worker \S+",
    r"For       men and women, 25 to 35 years, interest 1, post codes 60200",
    r"Contacts  20 in 60200",
    r"Price     1\.80",
    r"Balance   10\.00 before, 20\d\d-.* UTC",
    r"          8\.20 afterwards, 20\d\d-.* UTC: 1\.80 less",
    r"          20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  about to be sent \(claim [0-9a-f]+\)",
)


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shell(make_shell: Callable[..., Shell]) -> Shell:
    return make_shell(speed=1e6, balance=Decimal(10))


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_the_notes_of_a_quote_stand_before_the_question(
    shell: Shell, at_terminal: None, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Twenty contacts that would become 9,000 are shown, with the job, before anything is paid."""
    write_jobs(tmp_path, 1)
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("wide,female,25,35,12,,60200:20,\n")
    shown = shell.run(*ASKED, *options, typed="n\n").stderr
    before, question, _ = shown.partition("Rent 2 jobs for")
    assert bool(question) == (not options)
    assert [line for line in before.splitlines() if line.startswith(("  job1:", "  wide:"))] == [
        "  wide: The volumes ask for 20 contacts, but the quote is for 9,000.",
        f"  wide: {FOREIGN}",
    ]
    assert shell.sandbox.requests["rent"] == 0


def test_a_dry_run_has_the_notes_in_its_document(shell: Shell, tmp_path: Path) -> None:
    """A script that prices a batch reads the notes, each with the id of its job."""
    write_jobs(tmp_path, 1)
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("wide,female,25,35,12,,60200:20,\n")
    result = shell.run(*ASKED, "--dry-run", "--json")
    assert json.loads(result.stdout)["notes"] == [
        "wide: The volumes ask for 20 contacts, but the quote is for 9,000.",
        f"wide: {FOREIGN}",
    ]


def lines_to_type(text: str) -> list[list[str]]:
    """The command lines that settle something, as a person copies them."""
    lines = re.findall(r"^  smspartner (batch resolve .*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_a_run_and_the_status_show_all_that_a_store_knows(shell: Shell, tmp_path: Path) -> None:
    """Time, targeting, volumes, price, both balances, the journal and its lines, what to type."""
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    code, out, err = finished(shell, *RUN)
    assert code == 4
    assert "1 perhaps paid for" in out
    status = shell.run("batch", "status", "--out", "out")
    for text in (err, status.stdout):
        for fact in FACTS:
            assert re.search(f"^{fact}$", text, re.MULTILINE), f"{fact}\n{text}"
        (journal,) = re.findall(r"^Journal   (.+)$", text, re.MULTILINE)
        (claim,) = re.findall(r"\(claim (\w+)\)", text)
        assert claim in Path(journal).read_text("utf-8")
        assert [words[3:-2] for words in lines_to_type(text)] == [
            ["--not-charged"],
            ["--token", "TOKEN"],
            ["--give-up"],
        ]
    (rental,) = shell.sandbox.rentals
    _, rented, _ = lines_to_type(status.stdout)
    words = [rental.token if word == "TOKEN" else word for word in rented]
    assert shell.run(*words).exit_code == 0
    assert finished(shell, *RUN)[0] == 0
    assert shell.sandbox.requests["rent"] == 1
    assert (tmp_path / "out" / "job1.csv").exists()


def test_a_doubt_fits_on_a_narrow_page(shell: Shell, tmp_path: Path) -> None:
    """No line is longer than 80 columns, but for paths and what is to be typed."""
    write_jobs(tmp_path, 1)
    codes = " ".join(f"60{n:03}" for n in range(50))
    jobs = (tmp_path / "jobs.csv").read_text().replace("60200,60200:20", f"{codes},60001:20")
    (tmp_path / "jobs.csv").write_text(jobs)
    submit(shell, "--yes")
    put(tmp_path / "jobs.db", "job1", JobState.NEEDS_ATTENTION)
    text = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stdout
    codes_shown = text.partition("For ")[2].partition("Contacts")[0]
    assert codes_shown.split()[-50:] == codes.split()
    assert max(map(len, codes_shown.splitlines())) <= 80


def test_an_old_doubt_does_not_hide_a_new_one(shell: Shell, tmp_path: Path) -> None:
    """A run that reports one job in doubt at its start reports another one at its end."""
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    finished(shell, *RUN)
    write_jobs(tmp_path, 1, 2)
    shell.sandbox.lose_next_reply("rent")
    _, _, err = finished(shell, *RUN)
    assert re.findall(r"^Job +(job\d)$", err, re.MULTILINE) == ["job1", "job2"]


def test_many_doubts_do_not_fill_the_screen(shell: Shell, tmp_path: Path) -> None:
    """Beyond some, the rest is counted, with the command that lists all."""
    write_jobs(tmp_path, *range(1, 12))
    submit(shell, "--yes")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as store, store:
        store.execute("UPDATE smspartner_jobs SET state = 'needs_attention'")
    text = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stdout
    assert "11 may have been paid for" in text
    assert len(lines_to_type(text)) == 10 * 3
    assert "... and 1 more" in text
    assert "smspartner batch status --json --store sqlite:///jobs.db" in text
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert [one["attention"]["volumes"] for one in stand["needs_attention"]] == [{"60200": 20}] * 11


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("sqlite:///a b.db", "sqlite:///a b.db"),
        ("postgresql://me@db:5433/rentals", "postgresql://me@db:5433/rentals"),
        ("postgresql://me:pass%40word@db:5433/x?host=/tmp", "postgresql://me@db:5433/x?host=/tmp"),
        ("postgresql://me:secret@/x?host=/tmp", "postgresql://me@/x?host=/tmp"),
    ],
)
def test_a_password_is_not_shown(store: str, shown: str) -> None:
    """A line to type names the store without the password that somebody put into its URL."""
    assert place(store, None) == ("--store", shown)
