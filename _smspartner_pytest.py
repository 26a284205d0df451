"""The fixtures for pytest: what pytest loads in every run where smspartner_async is installed.

It stands beside the package, not in it, and imports it only for a test that asks for a fixture: a
run that has nothing to do with it pays nothing, and a run that measures the package's coverage has
not imported it too early. What the fixtures do is in smspartner_async.testing.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from smspartner_async import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox
    from smspartner_async.testing import Account

_LOOP_SCOPES = ("function", "class", "module", "package", "session")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known, and the fixtures that pytest-asyncio has to run."""
    config.addinivalue_line(
        "markers",
        "smspartner_sandbox(**options): options of the test's sandbox, such as speed=1.",
    )
    config.addinivalue_line(
        "markers",
        "smspartner_client(**options): options of the test's client, such as request_timeout=0.2.",
    )
    if config.pluginmanager.hasplugin("asyncio"):
        with suppress(ImportError, TypeError):  # another's plugin, or pytest-asyncio before 0.24
            config.pluginmanager.register(_fixtures_on_asyncio(), "smspartner-asyncio")


@pytest.fixture
def smspartner_sandbox(_smspartner_account: Account) -> Sandbox:
    """Stand in for SMS Partner's API: `smspartner_async.sandbox.Sandbox`, fresh for each test.

    For as long as the test runs, SMSPARTNER_BASE_URL and SMSPARTNER_API_KEY name it, so that code
    that reads its settings there spends no real money. A rental is ready after 80 ms, or after 8 s
    of virtual time. Other options are given by `@pytest.mark.smspartner_sandbox(...)`.
    """
    return _smspartner_account.sandbox


@pytest.fixture
def smspartner_client(_smspartner_account: Account) -> SMSPartnerClient:
    """Make a client on the test's sandbox, for async tests. It asks and tries again quickly.

    Other options are given by `@pytest.mark.smspartner_client(...)`.
    """
    return _smspartner_account.client


@pytest.fixture
def _smspartner_account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A sandbox and a client on the event loop of whoever runs this test."""
    from smspartner_async import testing  # noqa: PLC0415 - see above

    account: Account = request.getfixturevalue(f"_smspartner_account_{testing.runner_of(request)}")
    monkeypatch.setenv("SMSPARTNER_BASE_URL", account.sandbox.base_url)
    monkeypatch.setenv("SMSPARTNER_API_KEY", account.sandbox.api_key)
    return account


@pytest.fixture
def _smspartner_account_in_thread(request: pytest.FixtureRequest) -> Iterator[Account]:
    from smspartner_async import testing  # noqa: PLC0415 - see above

    with testing.account_in_thread(testing.Options.of(request.node)) as account:
        yield account


@pytest.fixture
async def _smspartner_account_on_anyio(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    from smspartner_async import testing  # noqa: PLC0415 - see above

    async with testing.open_account(testing.Options.of(request.node)) as account:
        yield account


def _fixtures_on_asyncio() -> ModuleType:
    """Make a fixture for each scope of pytest-asyncio's loops; a test uses that of its own loop."""
    import pytest_asyncio  # noqa: PLC0415 - here, where it is loaded already

    def fixture_on(scope: Any) -> Any:
        @pytest_asyncio.fixture(loop_scope=scope, name=f"_smspartner_account_on_{scope}_loop")
        async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
            from smspartner_async import testing  # noqa: PLC0415 - see above

            test = request.node
            options = testing.Options.of(test, virtual_time=testing.has_virtual_time(test))
            async with testing.open_account(options) as account:
                yield account

        return account

    fixtures = ModuleType(f"{__name__} on pytest-asyncio")
    vars(fixtures).update({scope: fixture_on(scope) for scope in _LOOP_SCOPES})
    return fixtures
