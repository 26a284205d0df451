"""`download` where the announced length is wrong, or the head around it is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from downloads import FILE, client_of, contents
from fault_server import Close, Drip, FaultServer, Reply

from smspartner_async import DownloadInterruptedError, SMSPartnerError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 260\r\n\r\n"
ODD_HEAD = b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 260\r\n\r\n"


def in_pieces(*pieces: bytes) -> Reply:
    """Send each piece after the one before has been read."""
    return Reply((*(Drip(piece, pause=0.02, size=len(piece)) for piece in pieces), Close()))


@pytest.mark.parametrize("split", [1, 40, 259, 300])
async def test_a_file_that_is_longer_than_announced_is_kept_and_never_called_whole(
    split: int, tmp_path: Path
) -> None:
    """A file: what came behind the announced end shows that the length is wrong."""
    reply = in_pieces(HEAD + FILE[:split], FILE[split:520])
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError) as caught:
            await client.download("tok", tmp_path / "file")
        assert server.count("download") == 1
    assert caught.value.received == 520
    assert contents(tmp_path) == {"file.part": FILE[:520]}


async def test_a_line_break_behind_a_file_is_nothing(tmp_path: Path) -> None:
    """A file: some servers send one after the announced end."""
    reply = in_pieces(HEAD + FILE[:100], FILE[100:260] + b"\r\n")
    async with FaultServer(reply) as server, client_of(server) as client:
        file = await client.download("tok", tmp_path / "file")
    assert file.verified
    assert contents(tmp_path) == {"file": FILE[:260]}


async def test_a_file_behind_an_odd_head_is_whole_when_its_length_has_come(tmp_path: Path) -> None:
    """A file: a head whose length ends in a zero is not taken for a last chunk."""
    reply = in_pieces(ODD_HEAD, FILE[:100], FILE[100:260])
    async with FaultServer(reply) as server, client_of(server) as client:
        file = await client.download("tok", tmp_path / "file")
    assert file.verified
    assert contents(tmp_path) == {"file": FILE[:260]}


async def test_a_file_behind_a_head_without_an_end_is_kept(tmp_path: Path) -> None:
    """A file: its first line is no header, and nothing proves it whole."""
    reply = in_pieces(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n", FILE[:100], FILE[100:])
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError):
            await client.download("tok", tmp_path / "file")
    assert contents(tmp_path) == {"file.part": FILE}


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ((CHUNKED, b"nom\n" + FILE[:100], FILE[100:]), b"nom\n" + FILE),
        (
            (CHUNKED + b"64\r\n" + FILE[:100] + b"\r\n", b"nom\n", FILE),
            FILE[:100] + b"nom\n" + FILE,
        ),
    ],
    ids=["from the first on", "from the second on"],
)
async def test_a_file_without_the_chunks_that_its_head_announces_is_kept(
    pieces: tuple[bytes, ...], kept: bytes, tmp_path: Path
) -> None:
    """A file: some proxies undo the chunks, and leave the header: nothing is lost."""
    async with FaultServer(in_pieces(*pieces)) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError) as caught:
            await client.download("tok", tmp_path / "file")
        assert server.count("download") == 1
    assert caught.value.received == len(kept)
    assert contents(tmp_path) == {"file.part": kept}


@pytest.mark.parametrize(
    ("body", "kept"), [(FILE, {"file.part": FILE}), (b"<html>Bad gateway</html>", {})]
)
@pytest.mark.parametrize("status", [b"304", b"502", b"999"])
async def test_numbers_under_an_odd_head_and_status_are_kept(
    status: bytes, body: bytes, kept: dict[str, bytes], tmp_path: Path
) -> None:
    """A file: no status makes numbers go away, and a page is not kept."""
    reply = in_pieces(b"HTTP/1.1 " + status + b" X\r\nno colon\r\n\r\n", body)
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(SMSPartnerError):
            await client.download("tok", tmp_path / "file")
        assert server.count("download") == 1
    assert contents(tmp_path) == kept
