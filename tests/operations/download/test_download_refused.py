"""What comes in place of a file: refusals and pages are errors, and numbers are kept."""

import gzip
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from downloads import FILE, client_of, contents
from fault_server import Close, FaultServer, Reply, Send

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
    SMSPartnerError,
)

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def text(body: bytes, status: int = 200, *lines: str) -> Reply:
    """A whole reply of these bytes, framed by a Content-Length."""
    return Reply((Send(faults.head(status, f"Content-Length: {len(body)}", *lines) + body),))


async def refused(reply: Reply, path: Path) -> tuple[SMSPartnerError, int]:
    """The error that a download of this reply ends in, and how often it was asked for."""
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(SMSPartnerError) as caught:
            await client.download("tok", path)
        return caught.value, server.count("download")


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
    """A file: the vendor's error, JSON or XML under any status, is raised, and is no file."""
    found = {}
    for code in CLASSES:
        error, asked = await refused(ERRORS[form](code), folder / "contacts.csv")
        assert getattr(error, "code", None) == code
        assert (asked, contents(folder)) == (1, {})
        found[code] = type(error)
    assert found == CLASSES


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        (faults.html(200), 1),
        (faults.html(404), 1),
        (faults.html(502), 3),
        (text(b"<?xml version='1.0'?><page>Bonjour</page>"), 1),
        (text(b'{"success": true, "code": 200, "message": "File is being generated"}'), 1),
        (text(b'{"success": true, "message": "Appelez le 01 23 45 67 89"}'), 1),
        (text(b"upstream connect error", 503), 3),
    ],
    ids=["HTML", "HTML 404", "HTML 502", "XML", "envelope", "hotline", "503"],
)
async def test_pages_and_notes_are_refused(folder: Path, reply: Reply, asked: int) -> None:
    """A file: a page or a note of the vendor's, without a number, is an error and no litter."""
    error, times = await refused(reply, folder / "contacts.csv")
    assert isinstance(error, ResponseError)
    assert (times, contents(folder)) == (asked, {})
    assert "01 23" not in str(error)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b'{"success": fal', b"<html>Please come"])
async def test_a_busy_servers_cut_reply_is_asked_again(
    folder: Path, status: int, body: bytes
) -> None:
    """A file: 408, 429, 502-504 are asked again when they were cut, too, and leave no litter."""
    cut = Reply((Send(faults.head(status, "Content-Length: 50") + body), Close()))
    path = folder / "contacts.csv"
    async with FaultServer(cut, faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", path)
    assert contents(folder) == {path.name: FILE}


async def test_numbers_in_a_busy_servers_cut_reply_are_kept(folder: Path) -> None:
    """A file: what may be the file is kept, though its status says that the server is busy."""
    cut = Reply((Send(faults.head(502, f"Content-Length: {2 * len(FILE)}") + FILE), Close()))
    error, _ = await refused(cut, folder / "contacts.csv")
    assert isinstance(error, ResponseError)
    assert contents(folder)["contacts.csv.part"] == FILE


@pytest.mark.parametrize(
    "reply",
    [
        text(b'{"success": false', 500),
        text(FILE, 500),
        text(b'{"success": tr', 404),
        text(FILE, 302, "Location: /elsewhere"),
        text(b"<!DOCTYPE html><p>" + FILE * 20),
        text(FILE[:3], 206, "Content-Range: bytes 0-2/5200"),
        text(b"Service temporarily unavailable, please retry"),
        text(b"null"),
    ],
    ids=["cut", "500", "cut 404", "redirect", "long page", "206", "text", "null"],
)
async def test_what_may_hold_numbers_is_kept(folder: Path, reply: Reply) -> None:
    """A file: whatever else is no file is kept, named in a note, and not shown."""
    await refused(reply, folder / "contacts.csv")
    error, asked = await refused(reply, folder / "contacts.csv")  # and does not pile up
    assert isinstance(error, ResponseError)
    assert asked == 1
    [(name, kept)] = contents(folder).items()
    assert name == "contacts.csv.part"
    assert isinstance(reply.steps[0], Send)
    assert reply.steps[0].data.endswith(b"\r\n\r\n" + kept)
    assert error.__notes__[0] == f"What came is kept in {folder / name}."
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
        b"\x00\xff" * 500,
    ],
    ids=[
        "JSON",
        "list",
        "like JSON",
        "long {",
        "long JSON",
        "binary",
    ],
)
async def test_any_format_is_a_file(folder: Path, body: bytes) -> None:
    """A file: its format is undocumented, so whatever is no error and no page is the file."""
    async with FaultServer(text(body)) as server, client_of(server) as client:
        await client.download("tok", folder / "contacts.csv")
    assert contents(folder) == {"contacts.csv": body}
