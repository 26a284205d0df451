"""A rental from its price to its file, cancelled at any turn, on event loops that people run."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from downloads import FILE
from eager import begin_tasks_at_once
from fault_server import FaultServer, Received, Reply, Send, Stall
from faults import good, good_head, json_reply, stall_before_head
from renting import TARGETING, client_of, receipt, turns

from smspartner_async import PollingPolicy, RentalState, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from smspartner_async import Rental

QUICK = PollingPolicy(first_interval=0.01, max_interval=0.02)


@pytest.fixture(params=["uvloop", "debug", "eager"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    """An event loop of each kind. What cannot be had on this machine is skipped, and named."""
    if request.param == "debug":
        return asyncio.Runner(debug=True)
    if request.param == "eager":
        if sys.version_info < (3, 12):
            pytest.skip("Python 3.12 brought eager tasks")
        return asyncio.Runner()
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        pytest.skip("uvloop is not installed, so nothing is known of it here")
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def play(
    runner: asyncio.Runner, scenario: Coroutine[Any, Any, None], request: pytest.FixtureRequest
) -> None:
    """Run a scenario to its end on such a loop."""

    async def main() -> None:
        if "eager" in request.node.name:
            begin_tasks_at_once()
        await scenario

    with runner:
        runner.run(main())


def test_whenever_it_is_cancelled_a_token_comes_out(
    runner: asyncio.Runner, request: pytest.FixtureRequest
) -> None:
    """A paid request: cancelled at any turn, either nothing was sent, or the token is found."""

    async def scenario() -> None:
        arrived = set()
        async with FaultServer(stall_before_head(receipt(), 0.002)) as server:
            for turn in range(60):
                reported: list[Rental] = []
                before = server.count("rent")
                async with client_of(server) as client:
                    task = asyncio.create_task(client.rent(TARGETING, on_rented=reported.append))
                    await turns(turn)
                    for _ in range(3):
                        task.cancel()
                        await asyncio.sleep(0)
                    await asyncio.wait([task])
                assert len(reported) == server.count("rent") - before
                arrived.add(len(reported))
        assert arrived == {0, 1}

    play(runner, scenario(), request)


def test_a_rental_to_its_file(
    runner: asyncio.Runner, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Rented, waited for and downloaded; a wait keeps its deadline, and a cut file its part."""
    states = iter([1, 1, 2])

    def vendor(received: Received) -> Reply:
        if received.operation == "rent":
            return good(receipt())
        if received.operation == "status":
            return json_reply({"success": True, "status": next(states, 1)})
        half = Reply((Send(good_head(FILE) + FILE[:1000]), Stall()))
        return half if "tok-2" in received.target else good(FILE)

    async def scenario() -> None:
        async with (
            FaultServer(default=vendor) as server,
            client_of(server, polling=QUICK) as client,
        ):
            rental = await client.rent(TARGETING)
            status = await client.wait_until_ready(rental)
            assert (status.state, server.count("status")) == (RentalState.READY, 3)
            file = await client.download(status, tmp_path / "contacts.csv")
            assert (file.size, file.verified) == (len(FILE), True)
            with pytest.raises(WaitTimeoutError):
                await client.wait_until_ready("tok-3", timeout=0.05)
            arrived = asyncio.Event()
            cut = asyncio.create_task(
                client.download(
                    "tok-2", tmp_path / "other.csv", on_progress=lambda *_: arrived.set()
                )
            )
            await arrived.wait()
            cut.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cut
        assert (tmp_path / "contacts.csv").read_bytes() == FILE
        assert (tmp_path / "other.csv.part").read_bytes() == FILE[:1000]

    play(runner, scenario(), request)
