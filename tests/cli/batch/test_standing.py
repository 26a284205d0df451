"""How the jobs of a store stand: numbers, rows, and the exit code."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pytest
from batches import jobs_of

pytest.importorskip("dbos")

from smspartner_async.cli._batch.prompts import show_each, show_late_tokens
from smspartner_async.cli._batch.standing import (
    as_csv,
    exit_code,
    job_row,
    known_of,
    standing,
    summary,
)
from smspartner_async.cli._display import Display
from smspartner_async.cli._formats import paid_text
from smspartner_async.durable import JobState

from .test_plan import recorded

S = JobState
PRICE = Decimal("1.80")
PAID: dict[str, Any] = {"token": "tok", "price": PRICE}
JOB, OTHER = jobs_of(2)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("state", "facts", "name", "code"),
    [
        (S.QUEUED, {}, "not_rented", 1),
        (S.RENTING, {}, "in_doubt", 4),  # claimed, and its worker has not said how it ended
        (S.WAITING, PAID, "without_file", 3),
        (S.DONE, PAID, "done", 0),
        (S.FAILED, {}, "not_rented", 1),
        (S.FAILED, PAID, "without_file", 3),
        (S.NEEDS_ATTENTION, {}, "in_doubt", 4),
        (S.GIVEN_UP, {}, "given_up", 0),
        (S.GIVEN_UP, {"withdrawn": True}, "not_rented", 1),
    ],
)
def test_what_is_paid_or_in_doubt_counts_in_the_list_or_not(
    state: JobState, facts: dict[str, Any], name: str, code: int, *, listed: bool
) -> None:
    """The exit code is that of the gravest job; without its row, a job counts while it is open."""
    records = {JOB.id: recorded(JOB, state, **facts), OTHER.id: recorded(OTHER, S.DONE, **PAID)}
    counts = listed or code >= 3
    stands = summary([OTHER, JOB] if listed else [OTHER], records)
    assert stands["jobs"] == 1 + counts
    assert stands[name] == counts + (name == "done")
    assert stands["paid"] == PRICE * (1 + ("token" in facts and counts))
    assert exit_code([OTHER, JOB] if listed else [OTHER], records) == (code if counts else 0)


def test_a_job_without_a_record_is_not_rented() -> None:
    """A row that was never submitted counts as not rented."""
    assert summary([JOB], {})["not_rented"] == 1
    assert exit_code([JOB], {}) == 1


def test_rows_are_the_same_in_csv() -> None:
    """The CSV has a header and a row for each job, with what the JSON has."""
    records = [recorded(JOB, S.WAITING, **PAID), recorded(OTHER, S.FAILED, error='No, "never".')]
    rows = [*csv.DictReader(io.StringIO(as_csv(standing(records)["records"])))]
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[0]["token"] == "tok"
    assert rows[0]["paid"] == "1.80"
    assert rows[1]["error"] == 'No, "never".'
    assert rows[0].keys() == job_row(records[0]).keys()


def test_what_was_paid_at_a_price_that_nobody_knows_is_counted() -> None:
    """Of a journal of release 0.1, of a person, or late: the sum is not all that was paid."""
    records = [
        recorded(JOB, S.DONE, token="tok"),
        recorded(OTHER, S.DONE, late_tokens=("late",), **PAID),
    ]
    stand = standing(records)
    assert (stand["paid"], stand["paid_unknown"]) == (PRICE, 2)
    assert stand["states"] == {"done": {"jobs": 2, "paid": PRICE, "paid_unknown": 2}}
    assert [row["paid"] for row in stand["records"]] == [None, PRICE]
    assert [row["paid"] for row in csv.DictReader(io.StringIO(as_csv(stand["records"])))] == [
        "",
        "1.80",
    ]
    end = summary([JOB, OTHER], {one.id: one for one in records})
    assert (end["paid"], end["paid_unknown"]) == (PRICE, 2)
    assert paid_text(end) == "at least 1.80, and not known for 2"
    assert standing([recorded(JOB, S.FAILED)])["paid_unknown"] == 0


def test_a_second_payment_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A token that came after its job was settled is a rental that was paid, and is named."""
    record = recorded(JOB, S.DONE, late_tokens=("late-1", "late-2"), **PAID)
    show_late_tokens(Display(), [record, recorded(OTHER, S.DONE, **PAID)], ("--out", "out"))
    shown = capsys.readouterr().err
    assert "Paid for a second time" in shown
    assert "1  token late-1" in shown
    assert "1  token late-2" in shown
    assert "smspartner batch resolve 1 --give-up --out out" in shown
    records = {JOB.id: record, OTHER.id: recorded(OTHER, S.DONE, **PAID)}
    for jobs in ([JOB, OTHER], [OTHER]):  # in the list or not
        assert exit_code(jobs, records) == 3
        assert summary(jobs, records)["paid_twice"] == 1


def test_what_is_known_of_a_doubt_stands_beside_what_it_buys() -> None:
    """Also what the store has reckoned of its balances."""
    known = {"price": "1.80", "balance_spent": "1.80"}
    doubt = recorded(JOB, S.NEEDS_ATTENTION, attention=known)
    (listed,) = standing([doubt, recorded(OTHER, S.DONE, **PAID)])["needs_attention"]
    assert listed["attention"] == known_of(doubt)
    assert listed["attention"].items() >= known.items()
    assert listed["attention"]["targeting"]["zipcodes"] == ("06200",)


@pytest.mark.parametrize(
    ("now", "spent", "line"),
    [
        ("8.20", "1.80", "8.20 afterwards: 1.80 less"),
        ("10.00", "0.00", "10.00 afterwards: the same"),
        ("4.60", "1.80", "4.60 afterwards: 1.80 less beside the 3.60 that others cost"),
        ("6.40", "0.00", "6.40 afterwards: the same beside the 3.60 that others cost"),
        ("6.40", None, "6.40 afterwards: what this rent cost is not known"),
    ],
)
def test_balances_are_shown_as_facts(
    now: str, spent: str | None, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By how much it fell, apart from what others cost."""
    known = {"balance_before": "10.00", "balance_now": now, "balance_spent": spent}
    show_each(Display(), [("job1", known)], ("--out", "out"))
    assert f"          {line}\n" in capsys.readouterr().err
