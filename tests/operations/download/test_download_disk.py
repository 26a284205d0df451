"""`download` when the disk fails or is slow: what came is kept, and the server is not to blame."""

import asyncio
import errno
import itertools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults
import pytest
from downloads import FILE, client_of, contents, mode, outcome_of
from fault_server import Await, Close, FaultServer, Reply, Send

from smspartner_async import (
    DownloadInterruptedError,
)

HALF = FILE[: len(FILE) // 2]


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def one_by_one(*pieces: bytes) -> tuple[list[Any], Callable[[int, int | None], None]]:
    """Steps that send each piece once the one before has come, and the callback that says so."""
    come = [asyncio.Event() for _ in pieces]
    steps = [
        step
        for piece, event in zip(pieces, come, strict=True)
        for step in (Send(piece), Await(event))
    ]

    def on_progress(received: int, _: int | None) -> None:
        for end, event in zip(itertools.accumulate(map(len, pieces)), come, strict=True):
            if received >= end:
                event.set()

    return steps[:-1], on_progress


def fail(monkeypatch: pytest.MonkeyPatch, call: str, number: int, at: int = 1) -> None:
    """Let a download's calls of an `os` function about its part fail from the `at`-th one on."""
    really, calls = getattr(os, call), []

    def failing(*args: Any) -> Any:
        is_download = threading.current_thread().name.startswith("smspartner-download")
        if is_download and (call not in {"write", "fsync"} or is_part(args[0])):
            calls.append(1)
            if len(calls) >= at:
                raise OSError(number, os.strerror(number))
        return really(*args)

    monkeypatch.setattr(os, call, failing)


def is_part(descriptor: int) -> bool:
    """Whether an open file is neither a sidecar nor a folder nor in the temporary folder."""
    return Path(
        f"/proc/self/fd/{descriptor}"
    ).readlink().suffix == ".part" and "smspartner-" not in (
        str(Path(f"/proc/self/fd/{descriptor}").readlink())
    )


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@needs_proc
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("at", range(1, 9))
async def test_a_disk_that_fails_midway(
    path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, at: int, number: int
) -> None:
    """A file: what the disk takes no more is kept in the temporary folder, and named."""
    fail(monkeypatch, "write", number, at)
    pieces = [FILE[start : start + 600] for start in range(0, len(FILE), 600)]
    error = await interruption(path, *pieces)
    assert os.strerror(number) in str(error)
    assert (error.received, error.expected) == (len(FILE), len(FILE))
    left = contents(path.parent)
    [(name, rest)] = contents(temporary).items()
    assert str(temporary / name) in str(error)
    assert mode(temporary / name) == 0o600
    assert left.pop("contacts.csv.part", b"") + rest == FILE
    assert left == {}
    if at == 1:
        assert error.path == temporary / name


async def interruption(path: Path, *pieces: bytes) -> DownloadInterruptedError:
    """Download a file in pieces from one request, and return what interrupts it."""
    steps, on_progress = one_by_one(*pieces)
    script = Reply((Send(faults.good_head(FILE)), *steps))
    async with FaultServer(script) as server, client_of(server) as client:
        error = await outcome_of(client.download("tok", path, on_progress=on_progress))
        assert server.count("download") == 1
    assert isinstance(error, DownloadInterruptedError)
    return error


@needs_proc
async def test_no_disk_takes_anything(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file: where the temporary folder takes nothing either, the error says what is lost."""
    fail(monkeypatch, "write", errno.ENOSPC, 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    error = await interruption(path, HALF, FILE[len(HALF) :])
    assert "could not be kept anywhere (No such file or directory" in str(error)
    assert error.received == len(HALF)
    assert contents(path.parent) == {"contacts.csv.part": HALF}


@needs_proc
async def test_no_temporary_folder_can_be_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: where all disks are full, Python finds no temporary folder: it is said as well."""

    def none_found() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    fail(monkeypatch, "write", errno.ENOSPC, 2)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", none_found)
    error = await interruption(path, HALF, FILE[len(HALF) :])
    assert "could not be kept anywhere (No usable temporary directory found)" in str(error)
    assert str(path.parent) in str(error)
    assert contents(path.parent) == {"contacts.csv.part": HALF}


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("came", [HALF, FILE], ids=["cut", "whole"])
async def test_a_folder_that_is_removed_meanwhile(path: Path, temporary: Path, came: bytes) -> None:
    """A file: a part that is at its path no more is copied to the temporary folder, and named.

    Its disk may have been unmounted: as long as it is open it can be read.
    """
    pieces = (HALF, FILE[len(HALF) :])
    steps, on_progress = one_by_one(*pieces)

    def remove(received: int, expected: int | None) -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        on_progress(received, expected)

    script = Reply((Send(faults.good_head(FILE)), *(steps if came == FILE else steps[:2]), Close()))
    async with FaultServer(script) as server, client_of(server) as client:
        error = await outcome_of(client.download("tok", path, on_progress=remove))
        assert server.count("download") == 1
    assert isinstance(error, DownloadInterruptedError)
    assert (error.received, error.path.read_bytes()) == (len(came), came)
    assert contents(temporary) == {error.path.name: came}
    assert mode(error.path) == 0o600
    assert f"What arrived is kept in {error.path}" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
async def test_a_removed_folder_and_no_temporary_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file: what can be kept nowhere is not said to be kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        removed = lambda *_: shutil.rmtree(path.parent, ignore_errors=True)  # noqa: E731 - short
        error = await outcome_of(client.download("tok", path, on_progress=removed))
    assert isinstance(error, DownloadInterruptedError)
    assert "What came could not be kept anywhere (No such file or directory" in str(error)
    assert "is kept in" not in str(error)


@needs_proc
@pytest.mark.parametrize("calls", [("fsync",), ("dup",), ("link", "rename")])
async def test_a_broken_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...]
) -> None:
    """A file: what the disk fails at after the last byte is raised, and the whole is in `.part`.

    The next download finishes it, and asks nobody.
    """
    for call in calls:
        fail(monkeypatch, call, errno.EIO)
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        error = await outcome_of(client.download("tok", path))
        assert isinstance(error, DownloadInterruptedError)
        assert (error.received, error.expected) == (len(FILE), len(FILE))
        assert "Input/output error" in str(error)
        assert contents(path.parent) == {"contacts.csv.part": FILE}
        monkeypatch.undo()
        file = await client.download("tok", path)
        assert (file.verified, server.count("download")) == (True, 1)
    assert contents(path.parent) == {path.name: FILE}
