"""`download`: what is asked for, what becomes of every kind of reply, and where it goes."""

import asyncio
import gzip
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import faults
import pytest
from downloads import FILE, client_of, contents, leave_behind, mode
from fault_server import FaultServer, Received, Reply, Send

from smspartner_async import (
    AlreadyDownloadedError,
    Exchange,
    ResponseError,
    SMSPartnerClient,
    Targeting,
)
from smspartner_async._operations.reserved_room import ReservedRoom
from smspartner_async.sandbox import Sandbox

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def text(body: bytes, status: int = 200, *lines: str) -> Reply:
    """A whole reply of these bytes, framed by a Content-Length."""
    return Reply((Send(faults.head(status, f"Content-Length: {len(body)}", *lines) + body),))


# --- the whole file --------------------------------------------------------------------------


@posix_only
async def test_a_whole_file(folder: Path) -> None:
    """A file: it is at its name, whole, its owner's only, and alone there."""
    path = folder / "contacts.csv"
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        file = await client.download("tok", path)
    assert contents(folder) == {"contacts.csv": FILE}
    assert mode(path) == 0o600
    assert (file.path, file.size) == (path, len(FILE))
    assert file.sha256 == hashlib.sha256(FILE).hexdigest()


async def test_from_a_rental_to_its_file(
    client: SMSPartnerClient, sandbox: Sandbox, folder: Path
) -> None:
    """A file: what was rented is what is downloaded, asked for once."""
    targeting = Targeting(gender="mixed", min_age=25, max_age=35, interest=14, zipcodes=["60200"])
    rental = await client.rent(targeting)
    status = await client.wait_until_ready(rental)
    file = await client.download(rental, folder / "contacts.csv")
    with pytest.raises(AlreadyDownloadedError):
        await client.download(rental, folder / "again.csv")
    assert sandbox.requests["download"] == 2
    assert list(contents(folder)) == ["contacts.csv"]
    numbers = [line for line in file.path.read_text().splitlines() if "336" in line]
    assert len(numbers) == status.phone_numbers


@posix_only
async def test_growing_in_part(folder: Path) -> None:
    """A file: all that has come is in `.part`, mode 0600, before it is shown; the name is last."""
    path, part = folder / "contacts.csv", folder / "contacts.csv.part"
    seen = []

    def look(received: int, expected: int | None) -> None:
        assert not path.exists()
        assert part.read_bytes() == FILE[:received]
        assert (mode(part), expected) == (0o600, len(FILE))
        seen.append(received)

    before = os.umask(0)
    try:
        script = faults.drip_body(FILE, 0.01, size=1000)
        async with FaultServer(script) as server, client_of(server) as client:
            await client.download("tok", path, on_progress=look)
    finally:
        os.umask(before)
    assert len(seen) >= 2
    assert seen == sorted(seen)
    assert seen[-1] == len(FILE)
    assert contents(folder) == {"contacts.csv": FILE}


@pytest.mark.parametrize(
    ("make", "verified", "came"),
    [
        (faults.good, True, FILE),
        (faults.chunked, True, FILE),
        (faults.until_close, False, FILE),
        (faults.until_close_cut, False, FILE[: len(FILE) // 2]),
    ],
    ids=["length", "chunked", "until close", "until close, cut"],
)
async def test_verified(
    folder: Path, make: Callable[[bytes], Reply], came: bytes, *, verified: bool
) -> None:
    """A file: it is verified where its framing proves it whole, and only there."""
    async with FaultServer(make(FILE)) as server, client_of(server) as client:
        file = await client.download("tok", folder / "contacts.csv")
    assert file.verified is verified
    assert contents(folder) == {"contacts.csv": came}


@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_new_connection(folder: Path, *, borrowed: bool) -> None:
    """A file: each download has a fresh connection, asks for no compression, and asks once."""
    status = faults.json_reply({"success": True, "status": 2})
    script = (status, faults.good(FILE), status, faults.good(FILE))
    async with (
        FaultServer(*script) as server,
        aiohttp.ClientSession() as session,
        client_of(server, session=session if borrowed else None) as client,
    ):
        for name in "ab":
            await client.status("tok")
            await client.download("tok", folder / name)
        assert server.connections == [2, 1, 1]
        downloads = [r for r in server.received if r.operation == "download"]
    assert [r.header("Accept-Encoding") for r in downloads] == ["identity"] * 2
    assert {r.method for r in downloads} == {"GET"}


async def test_the_name_is_the_callers(folder: Path) -> None:
    """A file: no header of the server's names it."""
    lines = ('Content-Disposition: attachment; filename="../evil.csv"', "Content-Location: /evil")
    async with FaultServer(text(FILE, 200, *lines)) as server, client_of(server) as client:
        await client.download("tok", folder / "contacts.csv")
    assert contents(folder) == {"contacts.csv": FILE}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


PACKED = gzip.compress(FILE)


@pytest.mark.parametrize(
    ("body", "encoding", "saved", "verified"),
    [
        (PACKED, "gzip", FILE, True),
        (PACKED[:-1], "gzip", PACKED[:-1], False),
        (PACKED[:-8] + b"\0" * 8, "gzip", PACKED[:-8] + b"\0" * 8, False),
        (FILE, "gzip", FILE, False),
        (b"\x0b\x02\x80", "br", b"\x0b\x02\x80", False),
        (PACKED, "identity", PACKED, True),
        (gzip.compress(PACKED), "gzip, gzip", gzip.compress(PACKED), False),
    ],
    ids=["right", "cut", "checksum", "not compressed", "not known", "identity", "twice"],
)
async def test_compressed_although_not_asked_for(
    folder: Path, body: bytes, encoding: str, saved: bytes, *, verified: bool
) -> None:
    """A file: one that comes compressed is decompressed if its end is right, else as it came."""
    script = text(body, 200, f"Content-Encoding: {encoding}")
    async with FaultServer(script) as server, client_of(server) as client:
        file = await client.download("tok", folder / "contacts.csv")
    assert contents(folder) == {"contacts.csv": saved}
    assert (file.size, file.sha256) == (len(saved), hashlib.sha256(saved).hexdigest())
    assert file.verified is verified
    assert sys.platform == "win32" or mode(file.path) == 0o600


@pytest.mark.parametrize(("numbers", "is_file"), [(0, True), (12, False), (None, False)])
@pytest.mark.parametrize("by", ["token", "status"])
async def test_a_text_without_a_number(
    folder: Path, numbers: int | None, by: str, *, is_file: bool
) -> None:
    """A file: a text without a number is the file if the rental's status says it has none."""
    status = {"success": True, "status": 5, "file": {"phoneNumbers": numbers}}

    def answer(received: Received) -> Reply:
        body = b"numero;nom\n"
        return faults.json_reply(status) if received.operation == "status" else text(body)

    async with FaultServer(default=answer) as server, client_of(server) as client:
        rental = await client.status("tok") if by == "status" else "tok"
        if is_file:
            await client.download(rental, folder / "a")
        else:
            with pytest.raises(ResponseError, match="without a number"):
                await client.download(rental, folder / "a")
        assert server.count("download") == 1
    assert contents(folder) == {"a" if is_file else "a.part": b"numero;nom\n"}


async def test_finishing_is_no_request(folder: Path) -> None:
    """A file: what was left whole is finished past every limit, and no exchange is reported."""
    head = {"status": 200, "framing": "length", "length": len(FILE), "encoding": ""}
    leave_behind(folder / "a.part", FILE, "tok", head)
    exchanges: list[Exchange] = []
    async with (
        FaultServer(faults.empty(404)) as server,
        client_of(server, max_requests_per_minute=0.001, on_exchange=exchanges.append) as client,
    ):
        with pytest.raises(ResponseError):
            await client.credits()  # the only request for a thousand minutes
        exchanges.clear()
        file = await client.download("tok", folder / "a")
        assert (file.verified, server.count("download"), exchanges) == (True, 0, [])
    assert contents(folder) == {"a": FILE}


async def test_a_note_that_was_left_is_no_file(folder: Path) -> None:
    """A file: an error that a crash left in the part is dropped, and the vendor asked anew."""
    note = b'{"success": false, "code": 33}'
    head = {"status": 200, "framing": "length", "length": len(note), "encoding": ""}
    leave_behind(folder / "a.part", note, "tok", head)
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", folder / "a")
        assert server.count("download") == 1
    assert contents(folder) == {"a": FILE}


async def test_room_for_the_numbers_of_a_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: room is held for 64 KiB, or 32 bytes a number where their count is known."""
    held: list[int] = []
    hold = ReservedRoom.hold

    def spy(room: ReservedRoom, where: Path, size: int) -> None:
        held.append(size)
        hold(room, where, size)

    monkeypatch.setattr(ReservedRoom, "hold", spy)
    for numbers, room in ((None, 65536), (2, 65536), (10_000, 320_000), (10**20, 65536)):
        status = {"success": True, "status": 2, "file": {"phoneNumbers": numbers}}
        script = (faults.json_reply(status), faults.good(FILE))
        async with FaultServer(*script) as server, client_of(server) as client:
            await client.download(await client.status("tok"), folder / "a", overwrite=True)
        assert held == [room, len(FILE)]
        held.clear()


# --- progress --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_progress(folder: Path, kind: str) -> None:
    """A file: `on_progress`, plain or async, hears of every piece, and what is expected."""
    heard = []

    def plain(received: int, expected: int | None) -> None:
        heard.append((received, expected))

    async def waited_for(received: int, expected: int | None) -> None:
        await asyncio.sleep(0)
        plain(received, expected)

    script = (faults.drip_body(FILE, 0.01, size=1000), faults.chunked(FILE))
    async with FaultServer(*script) as server, client_of(server) as client:
        for name in "ab":
            on_progress = plain if kind == "plain" else waited_for
            await client.download("tok", folder / name, on_progress=on_progress)
    sizes = [received for received, expected in heard if expected == len(FILE)]
    assert len(sizes) >= 2
    assert sizes == sorted(sizes)
    assert heard[len(sizes) - 1] == (len(FILE), len(FILE))
    assert {expected for _, expected in heard[len(sizes) :]} == {None}
    assert heard[-1] == (len(FILE), None)


async def test_progress_that_waits_for_what_was_cancelled(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file: what an `on_progress` waits for and is cancelled does not cancel the download."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()

    async def wait_for_it(*_: object) -> None:
        await cancelled

    me = asyncio.current_task()
    assert me is not None
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        me.cancel()
        with pytest.raises(asyncio.CancelledError):  # nor does an old one, long seen to
            await asyncio.sleep(1)
        try:
            await client.download("tok", folder / "contacts.csv", on_progress=wait_for_it)
        finally:
            me.uncancel()
    assert contents(folder) == {"contacts.csv": FILE}
    [record] = [record for record in caplog.records if record.name == "smspartner_async"]
    assert "not called again" in record.getMessage()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_progress_that_fails(
    folder: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A file: an `on_progress` that raises is logged once; the download continues without it."""
    calls = []

    def plain(*_: object) -> None:
        calls.append(1)
        raise LookupError("no bar here")

    async def waited_for(*_: object) -> None:
        await asyncio.sleep(0)
        plain()

    script = faults.drip_body(FILE, size=1000)
    async with FaultServer(script) as server, client_of(server) as client:
        on_progress = plain if kind == "plain" else waited_for
        await client.download("tok", folder / "contacts.csv", on_progress=on_progress)
    assert contents(folder) == {"contacts.csv": FILE}
    assert calls == [1]
    [record] = [record for record in caplog.records if record.name == "smspartner_async"]
    assert (record.levelname, record.exc_info is not None) == ("ERROR", True)
    assert "not called again" in record.getMessage()
