"""What the fixtures are made of: the marks of a test, its event loop, a sandbox for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from smspartner_async.testing import QUICK_POLLING, QUICK_RETRY
from smspartner_async.testing._fixtures import (
    Account,
    Options,
    account_in_thread,
    has_virtual_time,
    open_account,
    runner_of,
)

if TYPE_CHECKING:
    from smspartner_async import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox


@pytest.mark.smspartner_sandbox(balance=Decimal(7), api_key="of the class")
@pytest.mark.smspartner_client(request_timeout=3)
class TestMarks:
    """The options of a test."""

    @pytest.mark.smspartner_sandbox(api_key="of the test")
    def test_the_closest_mark_has_the_last_word(self, request: pytest.FixtureRequest) -> None:
        """Option by option: what only the class says holds for the test."""
        options = Options.of(request.node)
        assert options.sandbox == {
            "speed": 100.0,
            "balance": Decimal(7),
            "api_key": "of the test",
        }
        assert options.client == {
            "polling": QUICK_POLLING,
            "retry": QUICK_RETRY,
            "request_timeout": 3,
        }

    def test_virtual_time_is_not_sped_up(self, request: pytest.FixtureRequest) -> None:
        """What is said by marks holds all the same."""
        options = Options.of(request.node, virtual_time=True)
        assert options.sandbox == {"balance": Decimal(7), "api_key": "of the class"}
        assert options.client == {"request_timeout": 3}


@pytest.mark.parametrize(
    ("option", "mark", "virtual"),
    [
        (None, None, False),
        (True, None, True),
        (None, (), True),
        (None, (True,), True),
        (None, (False,), False),
        (True, (False,), False),
        (False, (), False),
    ],
)
def test_virtual_time_by_mark_or_option(
    option: bool | None,  # noqa: FBT001 - a table
    mark: tuple[bool, ...] | None,
    virtual: bool,  # noqa: FBT001 - a table
) -> None:
    """The rule is that of looptime: `--no-looptime` beats a mark, and a mark beats `--looptime`."""
    item: Any = SimpleNamespace(
        config=SimpleNamespace(getoption=lambda *_: option),
        get_closest_marker=lambda _: None if mark is None else SimpleNamespace(args=mark),
    )
    assert has_virtual_time(item) is virtual


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> str:
    return runner_of(request)


def test_a_plain_test_runs_beside_the_sandboxs_thread(runner: str) -> None:
    """It has no loop."""
    assert runner == "in_thread"


async def test_an_async_test_runs_on_its_own_loop(runner: str) -> None:
    """By default pytest-asyncio makes one for each function."""
    assert runner == "on_function_loop"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_async_test_may_share_the_loop_of_its_module(runner: str) -> None:
    """The mark says whose loop it is."""
    assert runner == "on_module_loop"


def test_a_client_without_a_loop_says_what_to_use_instead() -> None:
    """A plain test that asks for it fails, with a sentence that helps."""
    account = Account(sandbox=None)  # type: ignore[arg-type] # it is not reached
    with pytest.raises(pytest.fail.Exception, match="Any other test can use smspartner_sandbox"):
        _ = account.client


def test_a_sandbox_in_a_thread_serves_blocking_code_and_ends() -> None:
    """Code that blocks its thread is answered, and neither thread nor port is left behind."""
    options = Options(sandbox={"balance": Decimal(7)}, client={})
    with account_in_thread(options) as account:
        base = urlsplit(account.sandbox.base_url)
        connection = http.client.HTTPConnection(base.netloc)
        connection.request("GET", f"{base.path}/me?apiKey={account.sandbox.api_key}")
        reply = json.loads(connection.getresponse().read())
        connection.close()
    assert reply["credits"]["balance"] == "7.000"
    assert not [thread for thread in threading.enumerate() if "smspartner" in thread.name]
    with pytest.raises(RuntimeError, match="not running"):
        _ = account.sandbox.base_url


async def test_an_account_on_this_loop() -> None:
    """The client has the sandbox's key and address, and what the marks say."""
    options = Options(sandbox={"api_key": "my-key"}, client={"request_timeout": 3})
    async with open_account(options) as account:
        assert (await account.client.credits()).balance == 1000
        assert account.client._pipeline.options.request_timeout == 3
        account.sandbox.assert_requests(credits=1)
        names = " ".join(repr(task) for task in asyncio.all_tasks())
        assert "RequestHandler.start" in names


async def test_the_fixtures_are_one_account(
    smspartner_sandbox: Sandbox, smspartner_client: SMSPartnerClient
) -> None:
    """What the client does, the sandbox counts."""
    await smspartner_client.credits()
    smspartner_sandbox.assert_requests(credits=1)
