"""Errors of the disk during a download."""

from __future__ import annotations

import tempfile
from typing import Final

OVERWRITE_ADVICE: Final = "pass overwrite=True to replace it."


class DiskError(Exception):
    """The disk failed; its `OSError` is the cause."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or type(error).__name__)


class NameTakenError(FileExistsError):
    """Another file has the final name; the whole file of this rental is kept in its part."""


def loss_text(error: OSError) -> str:
    """Return why the temporary folder took nothing; it is not known where none can be used."""
    return ": ".join(filter(None, (error.strerror, tempfile.tempdir)))
