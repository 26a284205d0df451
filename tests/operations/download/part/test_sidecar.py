"""The sidecar of a part: what a head says of its body, and what is on the disk when."""

import os
import stat
from pathlib import Path

import pytest
from downloads import sidecar_of
from multidict import CIMultiDict

from smspartner_async._operations.sidecar import Digest, ReplyFacts, Sidecar


@pytest.mark.parametrize(
    ("headers", "facts"),
    [
        ({"Content-Length": "520"}, ("length", 520, "")),
        ({"content-length": "520", "Content-Encoding": " GZIP "}, ("length", 520, "gzip")),
        ({"Content-Encoding": "identity"}, ("close", None, "")),
        ({"Transfer-Encoding": "Chunked"}, ("chunked", None, "")),
        ({"Transfer-Encoding": "gzip, chunked", "Content-Length": "1"}, ("chunked", None, "gzip")),
        ({"Content-Encoding": "identity, br ,Gzip"}, ("close", None, "br, gzip")),
        ({}, ("close", None, "")),
        ({"Content-Length": "-1"}, ("close", None, "")),
        ({"Content-Length": "9" * 19}, ("close", None, "")),
        ({"Content-Length": "0"}, ("length", 0, "")),
    ],
)
def test_what_a_head_says(headers: dict[str, str], facts: tuple[str, int | None, str]) -> None:
    """A file: framing, length and compression of a body, as its head says them."""
    found = ReplyFacts.of(200, CIMultiDict(headers))
    assert (found.framing, found.length, found.encoding) == facts


def test_a_coding_on_each_of_two_lines() -> None:
    """A file: a body that is compressed twice is not taken for one that is compressed once."""
    lines = (("Content-Encoding", "gzip"), ("content-encoding", "gzip"))
    assert ReplyFacts.of(200, CIMultiDict(lines)).encoding == "gzip, gzip"


def test_what_proves_a_body_whole() -> None:
    """A file: a last chunk or the whole length prove a body whole; its end alone does not."""
    assert ReplyFacts(200, "length", 520, "").proves(520)
    assert not ReplyFacts(200, "length", 520, "").proves(519)
    assert ReplyFacts(200, "chunked", None, "").proves(7)
    assert not ReplyFacts(200, "close", None, "").proves(7)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A file: whoever comes later reads all of it; a later attempt makes it void."""
    part, reply = tmp_path / "a.part", ReplyFacts(200, "length", 520, "gzip")
    sidecar = Sidecar.open(part)
    assert (sidecar.token, sidecar.is_foreign) == ("", False)
    sidecar.begin("tok")
    sidecar.note_reply(reply)
    sidecar.note_whole(Digest(520, "aa"))
    sidecar.note_plain(Digest(5200, "bb"))
    sidecar.note_refused()
    sidecar.close()
    later = Sidecar.open(part)
    assert (later.token, later.reply) == ("tok", reply)
    assert (later.whole, later.plain) == (Digest(520, "aa"), Digest(5200, "bb"))
    assert later.is_refused
    later.begin("another")
    assert (later.token, later.reply, later.whole, later.plain) == ("another", None, None, None)
    assert not later.is_refused
    assert sidecar_of(part)[-1] == {"token": "another"}
    later.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synced there")
def test_proofs_are_fsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: a proof is on the disk when it has been noted; a head waits for the body."""
    synced: list[str] = []

    def spy(fd: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", spy)
    sidecar = Sidecar.open(tmp_path / "a.part")
    sidecar.begin("tok")
    assert synced == []
    sidecar.note_reply(ReplyFacts(200, "length", 520, ""))
    assert synced == []
    sidecar.sync()
    assert synced == ["file", "folder"]
    sidecar.note_whole(Digest(520, "aa"))
    sidecar.note_plain(Digest(520, "aa"))
    assert synced == ["file", "folder", "file", "file"]
    sidecar.close()


@pytest.mark.parametrize("data", [b"mine", b'{"mine": 1}\n', b"[]\n", b'{"token": 7}\n'])
def test_somebody_elses(tmp_path: Path, data: bytes) -> None:
    """A file: what has the name of a sidecar and no line of one is somebody else's."""
    (tmp_path / "a.part.json").write_bytes(data)
    sidecar = Sidecar.open(tmp_path / "a.part")
    assert sidecar.is_foreign
    sidecar.close()
    assert (tmp_path / "a.part.json").read_bytes() == data


def test_a_file_that_is_too_large_for_a_sidecar_is_not_read(tmp_path: Path) -> None:
    """A file: it is somebody else's, even with a first line like one of ours."""
    path = tmp_path / "a.part.json"
    path.write_bytes(b'{"token": "tok-1"}\n')
    os.truncate(path, 2**24 + 1)
    sidecar = Sidecar.open(tmp_path / "a.part")
    assert sidecar.is_foreign
    sidecar.close()
    assert path.stat().st_size == 2**24 + 1
