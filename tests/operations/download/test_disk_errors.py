"""What the disk does to a download is raised in the disk's words."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from smspartner_async._operations.disk_errors import DiskError, NameTakenError, loss_text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/srv/contacts.csv"),
            "No space left on device",
        ),
        (OSError("without a number"), "OSError"),
        (PermissionError(), "PermissionError"),
    ],
)
def test_a_disk_error_says_what_the_disk_said(error: OSError, text: str) -> None:
    """Its words without a path, or else its kind: never an empty text."""
    assert str(DiskError(error)) == text


def test_a_name_that_is_taken_is_pythons_own_error() -> None:
    """Code that expects `FileExistsError` catches it, and reads which file."""
    error = NameTakenError(errno.EEXIST, os.strerror(errno.EEXIST), "contacts.csv")
    assert isinstance(error, FileExistsError)
    assert error.filename == "contacts.csv"


@pytest.mark.parametrize(
    ("reason", "folder", "text"),
    [
        ("No space left on device", "/tmp", "No space left on device: /tmp"),  # noqa: S108 - a name
        ("No usable temporary directory found", None, "No usable temporary directory found"),
    ],
)
def test_what_is_lost_says_which_folder_took_nothing(
    monkeypatch: pytest.MonkeyPatch, reason: str, folder: str | None, text: str
) -> None:
    """Where no temporary folder can be used, there is none to name."""
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert loss_text(OSError(errno.ENOSPC, reason)) == text
