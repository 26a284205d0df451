"""How a job is written down, and what a row of the store says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from store_work import job_of

from smspartner_async import ContactFile, Targeting
from smspartner_async.batch import RentalJob
from smspartner_async.durable import JobConflictError, JobState
from smspartner_async.durable._records import (
    dump_job,
    load_job,
    record_from_row,
    workflow_id,
)

JOB = RentalJob(
    id="north",
    targeting=Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200"),
    volumes={"06200": 20},
    max_total=Decimal("1.80"),
    path=Path("/srv/north.csv"),
)
CONTENT: dict[str, Any] = {
    "max_total": "1.8",
    "path": "/srv/north.csv",
    "targeting": {
        "category": None,
        "departments": [],
        "gender": "female",
        "interest": 12,
        "max_age": 35,
        "min_age": 25,
        "sub_interest": None,
        "zipcodes": ["06200"],
    },
    "volumes": {"06200": 20},
}


def row(**changed: Any) -> Any:
    """A row of the table of jobs."""
    usual = {
        "id": "north",
        "content": json.dumps(CONTENT),
        "state": "queued",
        "run": 1,
        "worker": None,
        "token": None,
        "price": None,
        "facts": "{}",
        "changed": 1_700_000_000_250_000,
        "late_tokens": None,
    }
    return SimpleNamespace(**usual | changed)


def test_a_job_is_written_as_the_same_text_each_time() -> None:
    """The text is compared where a job is submitted again: 1.8 and 1.80 are one limit."""
    assert dump_job(JOB) == json.dumps(CONTENT)


def test_what_is_written_is_read() -> None:
    """Nothing of a job is lost: no limit stays none, and 0 a limit, at which nothing is rented."""
    for limit, text in ((JOB.max_total, "1.8"), (Decimal(0), "0"), (None, None)):
        job = evolve(JOB, max_total=limit)
        assert json.loads(dump_job(job))["max_total"] == text
        assert load_job("north", dump_job(job)) == job


def test_a_queued_job() -> None:
    """Nothing is known yet but when it was submitted."""
    known = record_from_row(row())
    assert (known.id, known.job, known.state, known.run) == ("north", JOB, JobState.QUEUED, 1)
    assert known.changed_at == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert (known.token, known.price, known.file, known.error, known.worker) == (None,) * 5
    assert (known.attention, known.withdrawn, known.late_tokens) == ({}, False, ())


def test_a_job_that_is_done() -> None:
    """Token, price and the file, as values."""
    file = {"path": "/srv/north.csv", "size": 26, "sha256": "ab" * 32, "verified": True}
    facts = json.dumps({"file": file})
    known = record_from_row(row(state="done", token="tok-1", price="1.80", worker="w", facts=facts))
    assert (known.state, known.token, known.price) == (JobState.DONE, "tok-1", Decimal("1.80"))
    assert known.file == ContactFile(
        path=Path("/srv/north.csv"), size=26, sha256="ab" * 32, verified=True
    )


def test_a_job_that_needs_attention_and_one_that_was_withdrawn() -> None:
    """What is known of the claim can be read and not changed; late tokens come one by one."""
    facts = json.dumps({"error": "lost", "attention": {"worker": "w", "balance_before": "10"}})
    known = record_from_row(row(state="needs_attention", facts=facts, late_tokens="tok-1 tok-2"))
    assert (known.error, known.attention["worker"]) == ("lost", "w")
    assert known.late_tokens == ("tok-1", "tok-2")
    with pytest.raises(TypeError):
        known.attention["worker"] = "another"  # type: ignore[index]
    assert record_from_row(row(state="given_up", facts='{"withdrawn": true}')).withdrawn


@pytest.mark.parametrize(
    ("state", "is_open"),
    [
        ("queued", True),
        ("renting", True),
        ("waiting", True),
        ("done", False),
        ("failed", False),
        ("needs_attention", False),
        ("given_up", False),
    ],
)
def test_which_states_are_open(state: str, is_open: bool) -> None:  # noqa: FBT001 - a table
    """A job is open while workers have something to do for it."""
    assert JobState(state).is_open is is_open


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"a": ("max_total",), "b": ("path",)}, "can be submitted again once withdrawn"),
        ({"a": ("max_total", "targeting")}, "another id"),
        ({"a": ("volumes",)}, "another id"),
    ],
)
def test_a_conflict_names_jobs_and_fields_and_gives_one_advice(
    fields: dict[str, tuple[str, ...]], advice: str
) -> None:
    """A changed limit or path is the same purchase; other contacts are another one."""
    error = JobConflictError(fields=fields)
    assert (error.ids, error.fields) == (tuple(fields), fields)
    assert "Nothing of this list was submitted" in str(error)
    for name in {name for names in fields.values() for name in names}:
        assert name in str(error)
    assert str(error).count(".") == 3
    assert advice in str(error)


def test_a_workflow_is_of_one_run(tmp_path: Path) -> None:
    """A resumed job is another workflow: a store of release 0.1 knows it by this id."""
    assert workflow_id({**job_of(tmp_path), "run": 3}) == "smspartner:job-1:3"
