"""`download` cancelled at any moment: what came is kept, nothing is left running or locked."""

import asyncio
import errno
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import faults
import pytest
from downloads import FILE, OLDER, client_of, contents, leave_behind
from fault_server import Await, FaultServer, Received, Reply, Send, Stall

from smspartner_async import ContactFile, SMSPartnerClient
from smspartner_async._operations.part_file import PartFile

HALF = FILE[: len(FILE) // 2]


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def part(path: Path) -> Path:
    return path.with_name("contacts.csv.part")


class Slow:
    """Makes a call in a download's thread return 0.1 s late, and notes when it was made.

    Of `os` functions, those calls that are about the part: its sidecar has other calls.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.made = asyncio.Event()
        loop = asyncio.get_running_loop()
        really = getattr(owner, name)

        def slow(*args: Any, **options: Any) -> Any:
            result = really(*args, **options)
            if is_about_the_part(owner, *args):
                loop.call_soon_threadsafe(self.made.set)
                time.sleep(0.1)
            return result

        monkeypatch.setattr(owner, name, slow)


def is_about_the_part(owner: Any, *args: Any) -> bool:
    """Whether a download's thread makes a call, and not for a sidecar or a folder."""
    if not threading.current_thread().name.startswith("smspartner-download"):
        return False
    return owner is not os or os.pread(args[0], 1, 0) == FILE[:1]


async def end_of(downloading: asyncio.Task[ContactFile]) -> asyncio.CancelledError:
    """The cancellation that a cancelled download ends with."""
    with pytest.raises(asyncio.CancelledError) as caught:
        await downloading
    assert downloading.cancelled()
    return caught.value


def notes(ended: object) -> list[str]:
    return getattr(ended, "__notes__", [])


async def check_free(path: Path) -> None:
    """At once a new download to the same path works, and nothing runs on meanwhile."""
    assert len(asyncio.all_tasks()) == 1
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", path, overwrite=True)
    assert contents(path.parent) == {path.name: FILE}


async def test_within_a_transfer(path: Path, part: Path) -> None:
    """A file: cancelled within a transfer, what arrived is kept, and a note says where."""
    arrived = asyncio.Event()
    script = faults.stall_within_body(FILE)
    async with FaultServer(script) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(
            client.download("tok", path, on_progress=lambda *_: arrived.set())
        )
        await arrived.wait()
        downloading.cancel()
        cancelled = await end_of(downloading)
        assert server.count("download") == 1
    assert notes(cancelled) == [f"What arrived of the file is kept in {part}."]
    assert contents(path.parent) == {part.name: HALF}
    await check_free(path)


@pytest.fixture
def older(part: Path) -> Path:
    """Leave numbers of an earlier download behind."""
    leave_behind(part, OLDER)
    return part


@pytest.mark.parametrize("left_behind", [False, True])
async def test_before_a_byte_came(
    path: Path, request: pytest.FixtureRequest, *, left_behind: bool
) -> None:
    """A file: cancelled before a byte came, nothing is left, or what was there before."""
    if left_behind:
        request.getfixturevalue("older")
    asked = asyncio.Event()

    def fall_silent(_: Received) -> Reply:
        asked.set()
        return faults.stall_before_head(FILE)

    async with FaultServer(fall_silent) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await asked.wait()
        downloading.cancel()
        assert notes(await end_of(downloading)) == []
    assert contents(path.parent) == ({"contacts.csv.part": OLDER} if left_behind else {})
    await check_free(path)


async def test_while_opening(path: Path, older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: cancelled while the `.part` file is being made, it is not left locked."""
    opening = Slow(monkeypatch, PartFile, "open")
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await opening.made.wait()
        downloading.cancel()
        assert notes(await end_of(downloading)) == []
        assert server.accepted == 0
    assert contents(path.parent) == {older.name: OLDER}
    monkeypatch.undo()
    await check_free(path)


async def test_while_writing(path: Path, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: cancelled while a piece is being written down, that piece is kept."""
    writing = Slow(monkeypatch, os, "write")
    script = faults.stall_within_body(FILE)
    async with FaultServer(script) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await writing.made.wait()
        downloading.cancel()
        cancelled = await end_of(downloading)
    assert notes(cancelled) == [f"What arrived of the file is kept in {part}."]
    assert contents(path.parent) == {part.name: HALF}
    monkeypatch.undo()
    await check_free(path)


@pytest.mark.parametrize("disk", ["slow", "full"])
@pytest.mark.parametrize("often", [False, True])
async def test_what_arrived_meanwhile(
    path: Path,
    part: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: str,
    *,
    often: bool,
) -> None:
    """A file: cancelled while the disk is slow, all that has arrived meanwhile is kept too."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    large = FILE * 10
    first = large[:4000]
    writing, go_on = asyncio.Event(), threading.Event()
    script = Reply(
        (Send(faults.good_head(large) + first), Await(writing), Send(large[4000:-1]), Stall())
    )
    loop = asyncio.get_running_loop()
    really_write, really_feed = os.write, aiohttp.StreamReader.feed_data
    arrived = 0
    writes = 0

    def write(descriptor: int, data: bytes) -> int:
        nonlocal writes
        if threading.current_thread().name.startswith("smspartner-download") and data[:1] != b"{":
            loop.call_soon_threadsafe(writing.set)
            go_on.wait(5)
            writes += 1
            if disk == "full" and writes > 1 and os.fstat(descriptor).st_size == len(first):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_write(descriptor, data)

    def feed(reader: aiohttp.StreamReader, data: bytes, *args: Any) -> Any:
        nonlocal arrived
        arrived += len(data)
        return really_feed(reader, data, *args)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(aiohttp.StreamReader, "feed_data", feed)
    async with FaultServer(script) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await writing.wait()
        while arrived < len(large) - 1:  # noqa: ASYNC110 - aiohttp has no event for it
            await asyncio.sleep(0.005)
        for _ in range(3 if often else 1):
            downloading.cancel()
            await asyncio.sleep(0.005)
        go_on.set()
        cancelled = await end_of(downloading)
    note, *more = notes(cancelled)
    assert note == f"What arrived of the file is kept in {part}."
    kept = contents(path.parent)[part.name]
    if disk == "full":
        [(name, rest)] = contents(tmp_path / "temporary").items()
        assert name in more[0]
        kept += rest
    assert kept == large[:-1]
    assert list(contents(path.parent)) == [part.name]


async def test_by_what_on_progress_waits_for(path: Path, part: Path) -> None:
    """A file: cancelled while `on_progress` waits, the download is cancelled, not the waiting."""
    called = asyncio.Event()

    async def wait(*_: object) -> None:
        called.set()
        await asyncio.sleep(5)

    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path, on_progress=wait))
        await called.wait()
        downloading.cancel()
        await end_of(downloading)
    assert FILE.startswith(contents(path.parent)[part.name])
    await check_free(path)


@pytest.mark.parametrize(
    ("script", "left"),
    [
        (faults.stall_within_body(FILE), {"contacts.csv.part": HALF}),
        (Reply((Send(faults.head(204)),)), {}),
    ],
    ids=["half", "empty"],
)
async def test_a_piece_that_waits_for_its_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch, script: Reply, left: dict[str, bytes]
) -> None:
    """A file: cancelled when a piece was handed over and its writing did not begin, it is kept."""
    loop = asyncio.get_running_loop()
    really_run = loop.run_in_executor
    downloading: asyncio.Task[ContactFile]

    def run(executor: ThreadPoolExecutor, call: Any) -> Any:
        if call.func.__name__ == "write_first":
            executor.submit(time.sleep, 0.05)
            loop.call_soon(downloading.cancel)
        return really_run(executor, call)

    async with FaultServer(script) as server, client_of(server) as client:
        monkeypatch.setattr(loop, "run_in_executor", run)
        downloading = asyncio.ensure_future(client.download("tok", path))
        await end_of(downloading)
    assert contents(path.parent) == left


@pytest.mark.usefixtures("older")
async def test_while_finishing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: cancelled while the file gets its name, it is whole there, and the note says so."""
    finishing = Slow(monkeypatch, os, "fsync")
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await finishing.made.wait()
        assert path.name not in contents(path.parent)
        downloading.cancel()
        cancelled = await end_of(downloading)
    assert notes(cancelled) == [f"What arrived of the file is kept in {path}."]
    assert contents(path.parent) == {path.name: FILE}
    monkeypatch.undo()
    await check_free(path)


async def test_while_putting_back(path: Path, older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: cancelled after the vendor's no, no note names a file that did not come."""
    discarding = Slow(monkeypatch, PartFile, "discard")
    async with FaultServer(faults.vendor_error(34, "Non")) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await discarding.made.wait()
        downloading.cancel()
        assert notes(await end_of(downloading)) == []
    assert contents(path.parent) == {older.name: OLDER}
    monkeypatch.undo()
    await check_free(path)


@pytest.mark.parametrize("call", ["fsync", "write"])
async def test_repeatedly(
    path: Path, part: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A file: cancelled again and again, it still ends with nothing locked and all kept."""
    slow = Slow(monkeypatch, os, call)
    arrived = asyncio.Event()
    script = faults.stall_within_body(FILE)
    async with FaultServer(script) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(
            client.download("tok", path, on_progress=lambda *_: arrived.set())
        )
        await (arrived if call == "fsync" else slow.made).wait()
        while not downloading.done():
            downloading.cancel()
            await asyncio.sleep(0.005)
        cancelled = await end_of(downloading)
    assert notes(cancelled) == [f"What arrived of the file is kept in {part}."]
    assert contents(path.parent) == {part.name: HALF}
    monkeypatch.undo()
    await check_free(path)


async def test_after_it_broke_off(path: Path, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: cancelled while what is left of a broken transfer is made safe, it is cancelled."""
    keeping = Slow(monkeypatch, os, "fsync")
    async with FaultServer(faults.close_within_body(FILE)) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await keeping.made.wait()
        downloading.cancel()
        cancelled = await end_of(downloading)
    assert notes(cancelled) == [f"What arrived of the file is kept in {part}."]
    monkeypatch.undo()
    await check_free(path)


async def test_by_a_timeout(path: Path, part: Path) -> None:
    """A file: a caller's own `asyncio.timeout` is still a timeout, and what arrived is kept."""
    script = faults.stall_within_body(FILE)

    async def download_until_half_is_there(client: SMSPartnerClient) -> None:
        async with asyncio.timeout(None) as limit:
            await client.download("tok", path, on_progress=lambda *_: limit.reschedule(0))

    async with FaultServer(script) as server, client_of(server) as client:
        with pytest.raises(TimeoutError):
            await download_until_half_is_there(client)
    assert contents(path.parent) == {part.name: HALF}
    await check_free(path)


async def test_at_any_moment(tmp_path: Path) -> None:
    """A file: cancelled at any moment, the name is absent or whole, `.part` a true beginning."""
    ends = set()
    script = faults.drip_body(FILE, size=1000)
    async with FaultServer(script) as server:
        started = time.monotonic()
        await client_of(server).download("tok", tmp_path / "uncancelled")
        whole_time = time.monotonic() - started
    for turn in range(60):
        path = tmp_path / str(turn) / "contacts.csv"
        await asyncio.to_thread(path.parent.mkdir)
        async with FaultServer(script, default=faults.good(FILE)) as server:
            client = client_of(server)
            downloading = asyncio.ensure_future(client.download("tok", path))
            await asyncio.sleep(turn / 50 * whole_time)
            downloading.cancel()
            await asyncio.wait([downloading])
            left = contents(path.parent)
            assert left in ({}, {path.name: FILE}) or (
                list(left) == ["contacts.csv.part"]
                and FILE.startswith(left["contacts.csv.part"])
                and notes(await end_of(downloading))
                == [f"What arrived of the file is kept in {path}.part."]
            )
            ends.add(next(iter(left), "nothing"))
            await client.download("tok", path, overwrite=True)
            assert contents(path.parent) == {path.name: FILE}
    assert ends >= {"nothing", "contacts.csv.part"}
