"""Jobs that an earlier run has paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from batches import Diary, jobs_of
from downloads import leave_behind

from smspartner_async import AlreadyDownloadedError, SMSPartnerClient
from smspartner_async.batch import JobStep, run_batch

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.sandbox import Sandbox

VOLUMES = {"06200": 20}


async def test_what_is_paid_already_is_not_paid_again(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Jobs whose tokens an earlier run stored are fetched, neither priced nor rented."""
    one, two = jobs_of(2, tmp_path, volumes=VOLUMES)
    rental = await client.rent(one.targeting, one.volumes)
    diary = Diary()
    paid = {one.id: rental.token}
    outcomes = [end async for end in run_batch(client, (one, two), on_event=diary, paid=paid)]
    assert all(outcome.file for outcome in outcomes)
    assert {outcome.rental and outcome.rental.token for outcome in outcomes} >= {rental.token}
    assert sandbox.requests["rent"] == 2
    assert sandbox.requests["price"] == 1
    assert {*diary.steps(1)} == {JobStep.STATE, JobStep.DOWNLOADED}


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_file_that_an_earlier_run_left_whole(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path, *, is_whole: bool
) -> None:
    """A file: what was served to a run that a crash ended is finished, if it is whole."""
    [job] = jobs_of(1, tmp_path, volumes=VOLUMES)
    rental = await client.rent(job.targeting, job.volumes)
    await client.wait_until_ready(rental)
    data = (await client.download(rental, tmp_path / "elsewhere")).path.read_bytes()
    part = job.path.with_name(f"{job.path.name}.part")
    head = {"status": 200, "framing": "length", "length": len(data), "encoding": ""}
    leave_behind(part, data if is_whole else data[:-1], rental.token, head)
    [outcome] = [end async for end in run_batch(client, [job], paid={job.id: rental.token})]
    assert outcome.rental is not None
    if is_whole:
        assert outcome.file is not None
        assert outcome.file.verified
        assert job.path.read_bytes() == data
        assert sandbox.requests["download"] == 1
    else:
        assert isinstance(outcome.error, AlreadyDownloadedError)
        assert str(part) in outcome.error.__notes__[-1]
        assert part.read_bytes() == data[:-1]


async def test_a_token_without_a_job_is_refused(client: SMSPartnerClient, sandbox: Sandbox) -> None:
    """A token stored for a job that is not among the jobs is an error before anything is sent."""
    with pytest.raises(ValueError, match="paid names what is no job: '3'"):
        run_batch(client, jobs_of(2), paid={"1": "token", "3": "token"})
    assert not sandbox.requests


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_paid_job_whose_file_is_there(
    client: SMSPartnerClient, tmp_path: Path, *, is_kept: bool
) -> None:
    """Its error says what can be done in a batch, and replaces nothing."""
    [job] = jobs_of(1, tmp_path, volumes=VOLUMES)
    rental = await client.rent(job.targeting, job.volumes)
    await client.wait_until_ready(rental)
    job.path.write_text("another file")
    if is_kept:
        head = {"status": 200, "framing": "length", "length": 4, "encoding": ""}
        leave_behind(job.path.with_name(f"{job.path.name}.part"), b"+336", rental.token, head)
    [outcome] = [end async for end in run_batch(client, [job], paid={job.id: rental.token})]
    assert isinstance(outcome.error, FileExistsError)
    assert "overwrite" not in str(outcome.error)
    assert ("leave the job out" in str(outcome.error)) is not is_kept
    assert job.path.read_text() == "another file"
