"""Decompress a body that came compressed, as a copy, in bounded pieces. Blocking calls."""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import IO, TYPE_CHECKING, Final

from smspartner_async._files import PRIVATE, open_file
from smspartner_async._wire.contact_file import LOOKED_AT
from smspartner_async._wire.reply import EITHER_HEADER, ENCODINGS, inflated

from .sidecar import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_PIECE: Final = 2**16
# No list of numbers compresses better: a body that grows more is a bomb, and would fill the disk.
_MOST_GROWTH: Final = 100
_ALWAYS: Final = 2**20  # bytes that are allowed however small the body is


class NotDecompressibleError(Exception):
    """A body does not match its encoding, was cut short, or is a decompression bomb."""


def decompressed(source: IO[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the pieces of a compressed file, from the position of `source` on.

    Raises:
        NotDecompressibleError: after the pieces before it, where the end is not a right one.
    """
    if encoding not in ENCODINGS:
        raise NotDecompressibleError(f"{encoding} is not known")
    inflater = zlib.decompressobj(EITHER_HEADER)
    came, grown = 0, 0
    data = source.read(_PIECE)
    while data:
        came += len(data)
        while data:
            if inflater.eof:  # a gzip file may have several members
                inflater = zlib.decompressobj(EITHER_HEADER)
            try:
                piece = inflater.decompress(data, _PIECE)
            except zlib.error as error:
                raise NotDecompressibleError(str(error)) from None
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            grown += len(piece)
            if grown > _ALWAYS + _MOST_GROWTH * came:
                raise NotDecompressibleError("it grows to over a hundred times its size")
            if piece:
                yield piece
        data = source.read(_PIECE)
    while not inflater.eof and (piece := inflater.decompress(b"", _PIECE)):
        yield piece  # held back by the bound on the last piece
    if not inflater.eof:
        raise NotDecompressibleError("it was cut short")


def decompress(source: IO[bytes], target: IO[bytes], encoding: str) -> Digest:
    """Decompress `source` into `target`; return the size and SHA-256 of the result.

    Raises:
        NotDecompressibleError: its end is not a right one.
        OSError: the disk failed.
    """
    digest = hashlib.sha256()
    size = 0
    for piece in decompressed(source, encoding):
        target.write(piece)
        digest.update(piece)
        size += len(piece)
    return Digest(size, digest.hexdigest())


def decompressed_copy(source: IO[bytes], copy: Path, encoding: str) -> Digest | None:
    """Decompress `source` into a new file, for its owner only, and sync it.

    `None` where that fails: `copy` is then as it was before.
    """
    try:
        fd = open_file(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PRIVATE)
    except OSError:
        return None
    try:
        with os.fdopen(fd, "wb") as target:
            digest = decompress(source, target, encoding)
            target.flush()
            os.fsync(fd)
    except (OSError, NotDecompressibleError):
        copy.unlink(missing_ok=True)
        return None
    return digest


def beginning(source: IO[bytes], encoding: str) -> bytes:
    """Return the bytes at the beginning of a file that say what it is, decompressed if possible."""
    raw = source.read(LOOKED_AT)
    plain = inflated(raw, EITHER_HEADER)[0] if encoding in ENCODINGS else raw
    return plain[:LOOKED_AT] or raw
