"""`download`: what is asked for, what becomes of every kind of reply, and where it goes."""

import asyncio
import gzip
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import faults
import pytest
from downloads import FILE, check_nothing_is_left, client_of, contents, mode
from fault_server import FaultServer, Reply, Send

from smspartner_async import (
    AccessDeniedError,
    AlreadyDownloadedError,
    APIError,
    AuthenticationError,
    FileNotReadyError,
    InvalidRequestError,
    RentalFailedError,
    RentalNotFoundError,
    ResponseError,
    SMSPartnerClient,
    SMSPartnerError,
    Targeting,
)
from smspartner_async.sandbox import Sandbox

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    check_nothing_is_left()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def text(body: bytes, status: int = 200, *lines: str) -> Reply:
    """A whole reply of these bytes, framed by a Content-Length."""
    return Reply((Send(faults.head(status, f"Content-Length: {len(body)}", *lines) + body),))


async def refused(reply: Reply, path: Path) -> tuple[SMSPartnerError, int]:
    """The error that a download of this reply ends in, and how often it was asked for."""
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(SMSPartnerError) as caught:
            await client.download("tok", path)
        return caught.value, server.count("download")


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
    """A file: all that has come is in `.part`, mode 0600, before it is told; the name is last."""
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
async def test_a_connection_of_its_own(folder: Path, *, borrowed: bool) -> None:
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


async def test_compressed_although_not_asked_for(folder: Path) -> None:
    """A file: one that comes compressed all the same is saved as it came."""
    packed = gzip.compress(FILE)
    script = text(packed, 200, "Content-Encoding: gzip")
    async with FaultServer(script) as server, client_of(server) as client:
        file = await client.download("tok", folder / "contacts.csv")
    assert contents(folder) == {"contacts.csv": packed}
    assert file.verified


# --- errors in place of the file -------------------------------------------------------------

XML = (
    "<?xml version='1.0'?>\n<result>\n<entry>false</entry><entry>%d</entry>"
    "<entry>Non</entry></result>"
)
ERRORS: dict[str, Callable[[int], Reply]] = {
    "JSON 200": lambda code: faults.vendor_error(code, "Non"),
    "JSON 404": lambda code: faults.vendor_error(code, "Non", 404),
    "JSON 500": lambda code: faults.vendor_error(code, "Non", 500),
    "JSON chunked": lambda code: faults.chunked(b'{"success": false, "code": %d}' % code),
    "JSON until close": lambda code: faults.until_close(b'{"success": false, "code": %d}' % code),
    "JSON with BOM": lambda code: text(b'\xef\xbb\xbf{"success": false, "code": "%d"}' % code),
    "JSON gzip": lambda code: text(
        gzip.compress(b'{"success": false, "code": %d}' % code), 200, "Content-Encoding: gzip"
    ),
    "XML 200": lambda code: text((XML % code).encode()),
    "XML 403": lambda code: text((XML % code).encode(), 403),
}
CLASSES: dict[int, type[SMSPartnerError]] = {
    10: AuthenticationError,
    31: InvalidRequestError,
    32: RentalNotFoundError,
    33: RentalNotFoundError,
    34: AlreadyDownloadedError,
    35: FileNotReadyError,
    36: RentalFailedError,
    96: AccessDeniedError,
    777: APIError,
}


@pytest.mark.parametrize("form", ERRORS)
async def test_the_vendor_says_no(folder: Path, form: str) -> None:
    """A file: the vendor's error, JSON or XML under any status, is told, and is no file."""
    found = {}
    for code in CLASSES:
        error, asked = await refused(ERRORS[form](code), folder / "contacts.csv")
        assert getattr(error, "code", None) == code
        assert (asked, contents(folder)) == (1, {})
        found[code] = type(error)
    assert found == CLASSES


@pytest.mark.parametrize(
    "reply",
    [
        faults.html(200),
        faults.html(502),
        faults.html(404),
        text(b"<?xml version='1.0'?><page>Bonjour</page>"),
        text(b'{"success": false', 500),
        text(FILE, 500),
        text(b'{"success": tr', 404),
        text(FILE, 302, "Location: /elsewhere"),
        text(b"<!DOCTYPE html><p>" + FILE * 20),
    ],
    ids=[
        "HTML 200",
        "HTML 502",
        "HTML 404",
        "XML",
        "cut",
        "500",
        "cut 404",
        "redirect",
        "long page",
    ],
)
async def test_not_the_vendors(folder: Path, reply: Reply) -> None:
    """A file: what came and is none of the vendor's is kept, named in a note, and not shown."""
    error, asked = await refused(reply, folder / "contacts.csv")
    assert isinstance(error, ResponseError)
    assert asked == 1
    [(name, kept)] = contents(folder).items()
    assert name == "contacts.csv.part"
    assert isinstance(reply.steps[0], Send)
    assert reply.steps[0].data.endswith(b"\r\n\r\n" + kept)
    assert error.__notes__ == [f"What came is kept in {folder / name}."]
    assert error.excerpt == ""
    assert "336" not in str(error)


@pytest.mark.parametrize(
    "reply",
    [faults.empty(200), faults.empty(204), faults.empty(500), faults.redirect_to_itself(307)],
    ids=["200", "204", "500", "307"],
)
async def test_nothing_came(folder: Path, reply: Reply) -> None:
    """A file: an empty reply is an error, and leaves nothing behind."""
    error, asked = await refused(reply, folder / "contacts.csv")
    assert isinstance(error, ResponseError)
    assert "it is empty" in str(error)
    assert (asked, contents(folder)) == (1, {})
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    "body",
    [
        b'{"success": true, "numbers": ["+33600000000"]}',
        b'["+33600000000", "+33600000001"]',
        b'{"+33600000000"; "Dupont"}\n',
        b"{" + FILE * 20,
        b'{"success": false, "numbers": [' + b'"+33600000000",' * 5000 + b"0]}",
        b"null",
        b"\x00\xff" * 500,
    ],
    ids=[
        "JSON",
        "list",
        "like JSON",
        "long {",
        "long JSON",
        "null",
        "binary",
    ],
)
async def test_any_format_is_a_file(folder: Path, body: bytes) -> None:
    """A file: its format is undocumented, so whatever is no error and no page is the file."""
    async with FaultServer(text(body)) as server, client_of(server) as client:
        await client.download("tok", folder / "contacts.csv")
    assert contents(folder) == {"contacts.csv": body}


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
    assert "goes on without it" in record.getMessage()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_progress_that_fails(
    folder: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A file: an `on_progress` that raises is logged once, and the download goes on without it."""
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
    assert "goes on without it" in record.getMessage()
