"""What the tests of the sandbox's rooms share: an account at a sandbox of the usual speed."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from sandbox_account import Account

from smspartner_async.sandbox import Sandbox


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def account(session: aiohttp.ClientSession) -> AsyncIterator[Account]:
    async with Sandbox() as sandbox:
        yield Account(sandbox, session)
