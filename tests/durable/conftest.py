"""What the tests of durable rentals share: a sandbox, jobs, a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dbos", reason="the extra 'durable' is not installed")

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient
from smspartner_async.durable import Store
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUICK = PollingPolicy(first_interval=0.05, max_interval=0.2)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=100) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[SMSPartnerClient]:
    async with SMSPartnerClient(
        sandbox.api_key,
        base_url=sandbox.base_url,
        polling=QUICK,
        retry=RetryPolicy(attempts=2, first_delay=0.01),
    ) as client:
        yield client


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store:
        yield store
