"""What release 0.1 wrote down is read by this one, and this one writes what 0.1 reads.

`recorded/release_0_1.json` holds what a worker of release 0.1 left of six jobs: the rows of the
store, DBOS's records of inputs and steps, and the lines of the journal.
"""

from __future__ import annotations

import base64
import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from smspartner_async import TransportError
from smspartner_async._rental import StepFailedError
from smspartner_async.durable import JobState, Store
from smspartner_async.durable._claims import claims_in
from smspartner_async.durable._database.tables import JOBS
from smspartner_async.durable._records import dump_job, load_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async.durable._database.database import JobDatabase

RECORDED = json.loads((Path(__file__).parent / "recorded" / "release_0_1.json").read_text())
FOLDER = Path("/tmp/smspartner-0.1")  # noqa: S108 - where the recorder put it; it is not there


@pytest.fixture
async def filled(store: Store) -> Store:
    """A store with the rows of release 0.1."""

    def fill(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.insert(JOBS), RECORDED["rows"])

    await store._database.run(fill)
    return store


def steps() -> Iterator[tuple[str, Any]]:
    """Each step with its result, or its error, as it was pickled."""
    for step in RECORDED["steps"]:
        if step["function_name"].startswith("smspartner."):
            yield step["function_name"], step["output"] or step["error"]


async def test_the_rows_of_release_0_1_are_read(filled: Store) -> None:
    """Every state, with its token, price, file and doubt."""
    records = await filled.records()
    assert [(record.id, record.state, record.token) for record in records] == [
        ("job-1", JobState.DONE, "tok-1"),
        ("job-2", JobState.NEEDS_ATTENTION, None),
        ("job-3", JobState.FAILED, None),
        ("job-4", JobState.DONE, "tok-4"),
        ("job-5", JobState.WAITING, "tok-5"),
        ("job-6", JobState.QUEUED, None),
    ]
    done, doubt = records[:2]
    assert done.file is not None
    assert (done.file.path, done.file.size, done.file.verified) == (FOLDER / "1.csv", 26, True)
    assert (done.price, done.withdrawn, done.late_tokens) == (Decimal("1.80"), False, ())
    assert doubt.attention["nonce"] == "77d2bbea99359039"
    assert doubt.attention["balance_now"] == "1.00"


async def test_the_jobs_of_release_0_1_are_settled_withdrawn_and_agreed_to(filled: Store) -> None:
    """A doubt of 0.1 does not say who wrote it down, so its worker has to have ended."""
    with pytest.raises(ValueError, match="Worker recorder"):
        await filled.resolve("job-2", not_charged=True)
    await filled.resolve("job-2", not_charged=True, force=True)
    await filled.resume("job-3")
    await filled.withdraw("job-6")
    with pytest.raises(ValueError, match="tok-5"):
        await filled.withdraw("job-5")
    runs = {record.id: record.run for record in await filled.records()}
    assert runs == {"job-1": 1, "job-2": 2, "job-3": 2, "job-4": 1, "job-5": 1, "job-6": 1}


async def test_the_same_jobs_submitted_again_are_no_new_jobs(filled: Store) -> None:
    """What a job asks for is written down as it was, sign by sign."""
    jobs = [load_job(row["id"], row["content"]) for row in RECORDED["rows"]]
    assert [dump_job(job) for job in jobs] == [row["content"] for row in RECORDED["rows"]]
    assert await filled.submit(jobs) == 0


def test_the_results_of_steps_are_read_and_written_as_they_were() -> None:
    """A worker of either release replays what the other one has recorded.

    DBOS pickles by the interpreter's own protocol: 4, and 5 from Python 3.14 on, which all read.
    """
    results: dict[str, list[Any]] = {}
    for name, text in steps():
        value = pickle.loads(base64.b64decode(text))  # noqa: S301 - our own
        assert base64.b64encode(pickle.dumps(value, 4)).decode() == text, name
        results.setdefault(name.removeprefix("smspartner."), []).append(value)
    assert {type(value) for value in results["price"]} == {str}
    assert {tuple(claim) for claim in results["claim"]} == {
        ("nonce", "worker", "journal", "claimed_at", "balance_before", "balance_before_at")
    }
    assert [value for value in results["rent"] if isinstance(value, dict)] == [
        {"token": f"tok-{number}", "price": "1.80"} for number in (1, 4, 5)
    ]
    failures = [value for value in results["rent"] if isinstance(value, StepFailedError)]
    assert [(one.state, one.again) for one in failures] == [
        ("needs_attention", False),
        ("failed", False),
        ("failed", True),
    ]
    assert failures[0].facts["attention"]["nonce"] == "77d2bbea99359039"
    assert results["wait"] == [None, None]
    assert [file["size"] for file in results["download"]] == [26, 26]


def test_the_input_of_a_workflow_is_what_it_was() -> None:
    """DBOS keeps it, and gives it to the worker that continues."""
    assert len(RECORDED["inputs"]) == 5
    for text in RECORDED["inputs"].values():
        (job,) = pickle.loads(base64.b64decode(text))["args"]  # noqa: S301 - our own
        assert set(job) == {"id", "run", "content", "token", "price"}
        assert load_job(job["id"], job["content"]).id == job["id"]


def test_a_failure_is_pickled_as_release_0_1_did_whatever_hangs_on_it() -> None:
    """Its cause, its notes and its traceback stay here: 0.1 could not read them."""
    before = next(text for name, text in steps() if name == "smspartner.rent" and "gASVSQ" in text)
    facts = pickle.loads(base64.b64decode(before)).facts  # noqa: S301 - our own
    failure = StepFailedError(JobState.FAILED, again=False, **facts)
    failure.add_note("a note")
    with pytest.raises(StepFailedError) as raised:
        raise failure from TransportError("lost", maybe_sent=True)
    assert base64.b64encode(pickle.dumps(raised.value, 4)).decode() == before


def test_the_journal_of_release_0_1_is_read(tmp_path: Path) -> None:
    """Beside its database: who was about to be paid, and which tokens came."""
    (tmp_path / "recorder.jsonl").write_text("\n".join(RECORDED["journal"]) + "\n")
    claims = claims_in(tmp_path, "mine", beside_store=True)
    every = [claim for name in claims.job_ids() if (claim := claims.unknown(name, 0, ()))]
    found = {claim.job: (claim.run, claim.token, claim.line.get("store")) for claim in every}
    assert found == {
        "job-1": (1, "tok-1", None),
        "job-2": (1, None, None),
        "job-3": (1, None, None),
        "job-4": (1, "tok-4", None),
        "job-5": (1, "tok-5", None),
    }
