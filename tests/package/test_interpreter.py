"""The package under the interpreter's options that people use: development mode, and -OO."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio
from smspartner_async import PollingPolicy, SMSPartnerClient, Targeting
from smspartner_async.batch import RentalJob, run_batch
from smspartner_async.sandbox import Sandbox
from smspartner_async.web import FileOnce, RentOnce

WHO = Targeting(gender="mixed", min_age=25, max_age=35, interest=14, zipcodes="06200")
QUICK = PollingPolicy(first_interval=0.02, max_interval=0.05)

async def work():
    job = RentalJob(id="1", targeting=WHO, volumes={"06200": 5}, path="1.csv")
    async with Sandbox(speed=100) as sandbox:
        async with SMSPartnerClient(
            sandbox.api_key, base_url=sandbox.base_url, polling=QUICK
        ) as client, RentOnce(client) as rents, FileOnce(client, "files") as files:
            rental = await rents("k-1", WHO, {"06200": 5})
            await client.wait_until_ready(rental)
            print((await files(rental)).stat().st_size)
            async for outcome in run_batch(client, [job]):
                print(outcome.error, outcome.file.size)

asyncio.run(work())
"""


@pytest.mark.parametrize(
    "options",
    [("-X", "dev", "-W", "error"), ("-OO",)],
    ids=["development mode", "without asserts and docstrings"],
)
def test_the_whole_way_works_with_the_interpreters_options(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """A rental and a batch of one come to their files, and nothing is warned of."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *options, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["65", "None", "65"]), ran.stderr
    assert "Warning" not in ran.stderr
