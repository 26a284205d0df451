"""Bodies that came compressed: decompressed in bounded pieces, and only with a right end."""

import gzip
import hashlib
import io
import zlib

import faults
import pytest
from downloads import FILE
from fault_server import Send
from hypothesis import given
from hypothesis import strategies as st

from smspartner_async._operations.decompression import (
    NotDecompressibleError,
    beginning,
    decompress,
    decompressed,
)
from smspartner_async._operations.sidecar import Digest

LARGE = FILE * 100


def body_of_bomb() -> bytes:
    [step] = faults.gzip_bomb(300).steps
    assert isinstance(step, Send)
    return step.data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(LARGE),
        zlib.compress(LARGE),
        gzip.compress(LARGE[:70_000]) + gzip.compress(LARGE[70_000:]),
    ],
    ids=["gzip", "zlib", "two members"],
)
def test_a_right_end(packed: bytes, encoding: str) -> None:
    """A file: what is compressed in a usual way is the same again, with its own digest."""
    target = io.BytesIO()
    digest = decompress(io.BytesIO(packed), target, encoding)
    assert target.getvalue() == LARGE
    assert digest == Digest(len(LARGE), hashlib.sha256(LARGE).hexdigest())


@given(data=st.binary(max_size=300_000), level=st.integers(0, 9))
def test_any_bytes(data: bytes, level: int) -> None:
    """A file: any bytes come back, in pieces of at most 64 KiB."""
    pieces = list(decompressed(io.BytesIO(gzip.compress(data, level)), "gzip"))
    assert b"".join(pieces) == data
    assert all(len(piece) <= 2**16 for piece in pieces)


PACKED = gzip.compress(FILE)
MIB = b"\n" * 2**20


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (PACKED[:-1], "gzip"),
        (PACKED[:-9], "gzip"),
        (PACKED[: len(PACKED) // 2], "gzip"),
        (PACKED[:-8] + b"\0" * 8, "gzip"),
        (PACKED[:50] + b"?" + PACKED[51:], "gzip"),
        (PACKED + b"more", "gzip"),
        (FILE, "gzip"),
        (b"", "gzip"),
        (FILE, "br"),
        (FILE, "gzip, gzip"),
        (FILE, "utf-8"),
    ],
    ids=[
        *("end", "trailer", "half", "checksum", "damaged", "behind", "plain", "empty"),
        *("br", "twice", "charset"),
    ],
)
def test_no_right_end(packed: bytes, encoding: str) -> None:
    """A file: what is cut, damaged, not known or not compressed at all is refused as such."""
    with pytest.raises(NotDecompressibleError):
        decompress(io.BytesIO(packed), io.BytesIO(), encoding)


def test_a_bomb() -> None:
    """A file: what grows beyond all measure is given up before it fills the disk."""
    bomb, target = body_of_bomb(), io.BytesIO()
    with pytest.raises(NotDecompressibleError, match="a hundred times"):
        decompress(io.BytesIO(bomb), target, "gzip")
    assert target.tell() < 101 * len(bomb) + 2**21


@pytest.mark.parametrize(
    ("data", "encoding", "expected"),
    [
        (FILE, "", FILE),
        (PACKED, "gzip", FILE),
        (PACKED[:-9], "gzip", FILE),
        (FILE, "gzip", FILE),  # some proxies decompress, and leave the header
        (FILE, "br", FILE),
        (b"", "gzip", b""),
        (MIB + b"more", "", MIB),
        (gzip.compress(MIB + b"more"), "gzip", MIB),
    ],
    ids=range(8),  # the bytes of gzip hold the time
)
def test_the_beginning(data: bytes, encoding: str, expected: bytes) -> None:
    """A file: what is looked at is decompressed where it can be."""
    assert beginning(io.BytesIO(data), encoding) == expected
