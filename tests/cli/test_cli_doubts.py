"""What may have been paid for: told with all that is known, and settled by the lines that are told.

`batch run` tells it beside its result, `batch status` as its result.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from batches import jobs_of

from smspartner_async import _batch_doubts
from smspartner_async._batch_doubts import place
from smspartner_async._results import Line, Results, order_of, wanted_by

from .test_cli_batch import write_jobs
from .test_cli_durable import RUN, finished, put, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shell import Shell

pytest.importorskip("dbos")

from smspartner_async.durable import JobState

# Each fact of a job in doubt, as it stands on a line of its own.
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


def lines_to_type(text: str) -> list[list[str]]:
    """The command lines that settle something, as a person copies them."""
    lines = re.findall(r"^  smspartner (batch resolve .*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_a_run_and_the_status_tell_all_that_a_store_knows(shell: Shell, tmp_path: Path) -> None:
    """Time, targeting, volumes, price, both balances, the journal and its lines, what to type."""
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    code, out, err = finished(shell, *RUN)
    assert code == 1
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


def test_a_doubt_is_told_on_a_narrow_page(shell: Shell, tmp_path: Path) -> None:
    """No line is longer than 80 columns, but for paths and what is to be typed."""
    write_jobs(tmp_path, 1)
    codes = " ".join(f"60{n:03}" for n in range(50))
    jobs = (tmp_path / "jobs.csv").read_text().replace("60200,60200:20", f"{codes},60001:20")
    (tmp_path / "jobs.csv").write_text(jobs)
    submit(shell, "--yes")
    put(tmp_path / "jobs.db", "job1", JobState.NEEDS_ATTENTION)
    text = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stdout
    told = text.partition("For ")[2].partition("Contacts")[0]
    assert told.split()[-50:] == codes.split()
    assert max(map(len, told.splitlines())) <= 80


def test_a_batch_without_a_store_tells_what_its_results_know(shell: Shell, tmp_path: Path) -> None:
    """`batch status` tells a rent that was begun and never answered, with what it asked for."""
    (job,) = jobs_of(1)
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.RENTING, job.id, order=order_of(job), price="1.00", **wanted_by(job))
        results.add(Line.NOT_RENTED, job.id)
        results.add(Line.RENTING, job.id, order=order_of(job), price="1.80", **wanted_by(job))
        results.add(Line.UNKNOWN, job.id, message="The line broke.")
    text = shell.run("batch", "status", "--out", "out").stdout
    targeting = job.targeting
    assert f"{targeting.min_age} to {targeting.max_age} years" in text
    assert re.search(r"^Price +1\.80$", text, re.MULTILINE)
    assert re.search(r"^Journal +out.results\.jsonl$", text, re.MULTILINE)
    assert len(re.findall(r"UTC  renting$", text, re.MULTILINE)) == 1
    assert re.search(r"UTC  unknown The line broke\.$", text, re.MULTILINE)
    assert lines_to_type(text)[0] == [
        *("batch", "resolve", job.id, "--not-charged", "--out", "out")
    ]


def test_results_of_an_older_release_are_told_without_a_targeting(
    shell: Shell, tmp_path: Path
) -> None:
    """What the lines of a batch do not say is left out, and the rest is told."""
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.RENTING, "old")
    text = shell.run("batch", "status", "--out", "out").stdout
    assert re.search(r"^Price +not known$", text, re.MULTILINE)
    assert "For  " not in text
    assert len(lines_to_type(text)) == 3


def test_an_old_doubt_does_not_hide_a_new_one(shell: Shell, tmp_path: Path) -> None:
    """A run that tells at its start of a job in doubt tells at its end of another one."""
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    finished(shell, *RUN)
    write_jobs(tmp_path, 1, 2)
    shell.sandbox.lose_next_reply("rent")
    _, _, err = finished(shell, *RUN)
    assert re.findall(r"^Job +(job\d)$", err, re.MULTILINE) == ["job1", "job2"]


def test_many_doubts_do_not_fill_the_screen(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond some, the rest is counted, with the line that tells of all."""
    monkeypatch.setattr(_batch_doubts, "_LISTED", 2)
    write_jobs(tmp_path, 1, 2, 3)
    submit(shell, "--yes")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as store, store:
        store.execute("UPDATE smspartner_jobs SET state = 'needs_attention'")
    text = shell.run("batch", "status", "--store", "sqlite:///jobs.db").stdout
    assert "3 may have been paid for" in text
    assert len(lines_to_type(text)) == 2 * 3
    assert "... and 1 more" in text
    assert "smspartner batch status --json --store sqlite:///jobs.db" in text
    stand = shell.json("batch", "status", "--store", "sqlite:///jobs.db")
    assert [one["attention"]["volumes"] for one in stand["needs_attention"]] == [{"60200": 20}] * 3


def test_a_folder_whose_batch_is_kept_elsewhere_settles_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    """`--out` of a batch in a named store says which store to name, and writes nothing."""
    write_jobs(tmp_path, 1)
    shell.sandbox.lose_next_reply("rent")
    store = ("--store", "sqlite:///elsewhere.db")
    _, _, err = finished(shell, *RUN, *store)
    settling = lines_to_type(err)
    assert [words[-2:] for words in settling] == [[*store]] * 3
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    for words in (["status"], ["resolve", "job1", "--not-charged"]):
        refused = shell.run("batch", *words, "--out", "out")
        assert refused.exit_code == 1
        assert "this batch is kept in sqlite:///" in refused.stderr
        assert "--store" in refused.stderr
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
    assert shell.run(*settling[0]).exit_code == 0


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("sqlite:///a b.db", "sqlite:///a b.db"),
        ("postgresql://me@db:5433/rentals", "postgresql://me@db:5433/rentals"),
        ("postgresql://me:pass%40word@db:5433/x?host=/tmp", "postgresql://me@db:5433/x?host=/tmp"),
        ("postgresql://me:secret@/x?host=/tmp", "postgresql://me@/x?host=/tmp"),
    ],
)
def test_a_password_is_not_told(store: str, told: str) -> None:
    """A line to type names the store without the password that somebody put into its URL."""
    assert place(store, None) == ("--store", told)
