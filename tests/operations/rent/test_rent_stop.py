"""The ways in which a program stops a rent: timeouts, groups, a closed client, Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from fault_server import FaultServer
from fault_table import FAULTS
from faults import good, good_head, stall_before_head
from renting import TARGETING, arrival, client_of, now, receipt, turns

from smspartner_async import ConfigurationError, Rental, SMSPartnerError

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async import SMSPartnerClient

LATE = stall_before_head(receipt(), 5)


@pytest.mark.looptime
async def test_a_timeout_around_a_rent_is_a_timeout_after_the_token_is_reported() -> None:
    """A paid request: asyncio.timeout() ends as always, after `on_rented`."""
    reported: list[Rental] = []
    async with FaultServer(LATE) as server, client_of(server) as client:
        begun = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.rent(TARGETING, on_rented=reported.append)
        assert now() - begun == pytest.approx(5, abs=0.1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert [rental.token for rental in reported] == ["tok-1"]


@pytest.mark.looptime
async def test_wait_for_around_a_rent_is_a_timeout_after_the_token_is_reported() -> None:
    """A paid request: asyncio.wait_for() ends as always, after `on_rented`."""
    reported: list[Rental] = []
    async with FaultServer(LATE) as server, client_of(server) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.rent(TARGETING, on_rented=reported.append), 1)
        assert [rental.token for rental in reported] == ["tok-1"]


@pytest.mark.looptime
async def test_a_group_whose_other_task_fails_waits_for_its_rents() -> None:
    """A paid request: a TaskGroup ends with the failure, after every token was reported."""
    reported: list[Rental] = []

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    async def rent_thrice_and_fail(client: SMSPartnerClient) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(client.rent(TARGETING, on_rented=reported.append))
            group.create_task(fail())

    async with FaultServer(LATE) as server, client_of(server) as client:
        with pytest.raises(ExceptionGroup) as caught:
            await rent_thrice_and_fail(client)
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
        assert (len(reported), server.count("rent")) == (3, 3)


@pytest.mark.looptime
async def test_a_closed_client_lets_its_rents_finish() -> None:
    """A paid request: closing the client leaves a rent in flight its connection."""
    reported: list[Rental] = []
    async with FaultServer(LATE) as server:
        client = client_of(server)
        task = asyncio.create_task(client.rent(TARGETING, on_rented=reported.append))
        await asyncio.sleep(1)
        await client.close()
        assert (await task).token == "tok-1"
        assert (len(reported), server.count("rent")) == (1, 1)


@pytest.mark.looptime
async def test_a_closed_client_sends_no_rent_again() -> None:
    """A paid request: a rent that waits to be sent again when the client closes never is."""
    async with FaultServer(FAULTS["429"].make(b""), good(receipt())) as server:
        client = client_of(server, max_requests_per_minute=60)
        task = asyncio.create_task(client.rent(TARGETING))
        await arrival(server)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await task
        assert server.count("rent") == 1


# --- what a rent leaves behind ---------------------------------------------------------------


def open_files() -> set[int]:
    """The sockets that the running loop looks after."""
    selector: Any = asyncio.get_running_loop()
    return {key.fd for key in selector._selector.get_map().values()}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' loop does not list its sockets")
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.hangs])
async def test_a_rent_leaves_nothing_behind(name: str) -> None:
    """A paid request: its own connection is closed, with no task, socket or warning left."""
    asyncio.get_running_loop().set_debug(True)
    async with (
        FaultServer(FAULTS[name].make(receipt())) as server,
        client_of(server, request_timeout=3) as client,  # what is too long has no end
    ):
        await turns(3)  # the server begins to accept
        sockets, tasks = open_files(), asyncio.all_tasks()
        with contextlib.suppress(SMSPartnerError):
            await client.rent(TARGETING)
        for _ in range(20):  # the server's side closes after ours
            await asyncio.sleep(0.001)
            if open_files() == sockets:
                break
        assert open_files() - sockets == set()
        assert {t for t in asyncio.all_tasks() - tasks if "_Link" not in repr(t)} == set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


# --- Ctrl-C ----------------------------------------------------------------------------------

PROGRAM = """
import asyncio, functools, logging, sys
from smspartner_async import SMSPartnerClient, Targeting

port, book, way = sys.argv[1:]
targeting = Targeting(gender="mixed", min_age=25, max_age=35, interest=12)

class Say(logging.Handler):
    def emit(self, record):  # in the loop's next turn, when the rent is back at its waiting
        say = functools.partial(print, record.getMessage(), flush=True)
        asyncio.get_running_loop().call_soon(say)

logging.getLogger("smspartner_async").addHandler(Say())

def note(rental):
    with open(book, "a") as file:
        file.write(rental.token + "\\n")

async def main():
    async with SMSPartnerClient("key", base_url=f"http://127.0.0.1:{port}/v1") as client:
        rent = client.rent(targeting, on_rented=note)
        if way == "main":
            await rent
        task = asyncio.create_task(rent)
        if way == "background":
            await asyncio.Event().wait()
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


async def run_and_stop(book: Path, way: str, signals: int) -> tuple[int | None, str]:
    """Run the program and stop it; answer its rent only when it has noticed. What came of it."""
    arrived, noticed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert not arrived.is_set()
        arrived.set()
        await noticed.wait()
        writer.write(good_head(receipt()) + receipt())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(server.sockets[0].getsockname()[1]), str(book), way),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with server, asyncio.timeout(60):
        await arrived.wait()
        if signals:
            process.send_signal(signal.SIGINT)
        else:
            process.stdin.write(b"\n")
        said = await process.stdout.readline()
        if signals > 1:
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)  # it may end, or still wait
        noticed.set()
        await process.wait()
    return process.returncode, said.decode()


ctrl_c = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process"
)


@ctrl_c
@pytest.mark.parametrize(("way", "signals"), [("main", 1), ("main", 2), ("background", 1)])
async def test_ctrl_c_waits_for_the_token(way: str, signals: int, tmp_path: Path) -> None:
    """A paid request: when Ctrl-C ends asyncio.run(), the token is reported before it does."""
    status, _ = await run_and_stop(tmp_path / "book", way, signals)
    assert status == -signal.SIGINT
    assert (tmp_path / "book").read_text() == "tok-1\n"


@ctrl_c
async def test_ctrl_c_says_why_it_waits(tmp_path: Path) -> None:
    """A paid request: one more Ctrl-C, while asyncio.run() ends, gives up what it warned of."""
    status, said = await run_and_stop(tmp_path / "book", "background", 2)
    assert status == -signal.SIGINT
    assert not (tmp_path / "book").exists()
    assert "waiting for its answer" in said


async def test_a_program_that_ends_waits_for_the_token(tmp_path: Path) -> None:
    """A paid request: when main() returns, a rent in the background is finished."""
    status, _ = await run_and_stop(tmp_path / "book", "end", 0)
    assert status == 0
    assert (tmp_path / "book").read_text() == "tok-1\n"
