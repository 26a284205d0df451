"""Keep bytes that the disk refused: in memory, and at the end in the temporary folder. Blocking."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

from smspartner_async._log import log, log_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 64 * 2**20


@define(eq=False, repr=False)
class Overflow:
    """Up to 64 MiB of bytes in memory.

    Attributes:
        path: the file that they were saved to; `None` before `save`.
    """

    path: Path | None = field(default=None, init=False)
    _data: bytearray = field(factory=bytearray, init=False)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return len(self._data)

    def add(self, data: memoryview) -> bool:
        """Keep `data`; return whether there is room for more."""
        self._data += data[: _MOST - len(self._data)]
        return len(self._data) < _MOST

    def save(self, final: Path) -> None:
        """Write all to a new file in the temporary folder, for its owner only.

        Args:
            final: where the whole file was to be.

        Raises:
            OSError: the temporary folder does not take it either. Nothing is left there.
        """
        if not self._data or self.path is not None:
            return
        self.path = save_to_temporary([self._data], final)


def save_to_temporary(pieces: Iterable[bytes | bytearray], final: Path) -> Path:
    """Write a new file in the temporary folder, for its owner only, and return where it is.

    The log says so: the error may never be seen, if the disk of a store is full as well.

    Raises:
        OSError: the temporary folder does not take it. Nothing is left there.
    """
    fd, name = tempfile.mkstemp(prefix="smspartner-", suffix=".part")
    try:
        with os.fdopen(fd, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(fd)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
    log.warning(
        "what the disk did not take of %s is kept in %s",
        final,
        name,
        extra=log_fields("download", None),
    )
    return Path(name)
