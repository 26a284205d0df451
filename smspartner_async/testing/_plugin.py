"""The pytest plugin: what pytest loads in every run where smspartner_async is installed.

It imports the client only for a test that asks for a fixture: a run that has nothing to do with it
pays nothing, and a run that measures the coverage of other code has not imported it too early. What
the fixtures do is in `_fixtures`.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox

    from ._fixtures import Account

_PYTEST_ASYNCIO = ("asyncio", "pytest_asyncio", "pytest_asyncio.plugin")
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load pytest-asyncio where it is named with `-p pytest_asyncio`, as distributions do.

    pytest then takes the package of that name for the plugin, whose hooks stand in a module of it.
    """
    manager = early_config.pluginmanager
    if [name for name in _PYTEST_ASYNCIO if manager.hasplugin(name)] == ["pytest_asyncio"]:
        with suppress(ImportError):  # another's plugin
            manager.register(import_module("pytest_asyncio.plugin"), "pytest_asyncio.plugin")


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
    # Named with -p, or in PYTEST_PLUGINS, it is known to pytest by another name.
    if any(map(config.pluginmanager.hasplugin, _PYTEST_ASYNCIO)):
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
    from . import _fixtures  # noqa: PLC0415 - only for a test that asks for it

    account: Account = request.getfixturevalue(
        f"_smspartner_account_{_fixtures.runner_of(request)}"
    )
    monkeypatch.setenv("SMSPARTNER_BASE_URL", account.sandbox.base_url)
    monkeypatch.setenv("SMSPARTNER_API_KEY", account.sandbox.api_key)
    return account


@pytest.fixture
def _smspartner_account_in_thread(request: pytest.FixtureRequest) -> Iterator[Account]:
    from . import _fixtures  # noqa: PLC0415 - only for a test that asks for it

    with _fixtures.account_in_thread(_fixtures.Options.of(request.node)) as account:
        yield account


@pytest.fixture
async def _smspartner_account_on_anyio(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    from . import _fixtures  # noqa: PLC0415 - only for a test that asks for it

    async with _fixtures.open_account(_fixtures.Options.of(request.node)) as account:
        yield account


def _fixtures_on_asyncio() -> ModuleType:
    """Make a fixture for each scope of pytest-asyncio's loops; a test uses that of its loop."""
    import pytest_asyncio  # noqa: PLC0415 - here, where it is loaded already

    def fixture_on(scope: Any) -> Any:
        @pytest_asyncio.fixture(loop_scope=scope, name=f"_smspartner_account_on_{scope}_loop")
        async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
            from . import _fixtures  # noqa: PLC0415 - only for a test that asks for it

            test = request.node
            options = _fixtures.Options.of(test, virtual_time=_fixtures.has_virtual_time(test))
            async with _fixtures.open_account(options) as account:
                yield account

        return account

    fixtures = ModuleType(f"{__name__} on pytest-asyncio")
    vars(fixtures).update({scope: fixture_on(scope) for scope in _LOOP_SCOPES})
    return fixtures
