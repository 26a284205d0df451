"""Room that is held on the disk before a file is asked for, and given back as it arrives."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smspartner_async._operations.reserved_room import ReservedRoom

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="measures by POSIX means")

KIB = 2**10


def held(room: ReservedRoom) -> int:
    """Bytes that the file system holds for it."""
    return 0 if room._file is None else os.fstat(room._file.fileno()).st_blocks * 512


@pytest.fixture(params=["posix_fallocate", "without it", "not supported"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system reserve, or only write."""
    if request.param == "without it":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    elif request.param == "not supported":
        monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP), raising=False)


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.usefixtures("_ways")
def test_room_is_really_held_and_given_back(tmp_path: Path) -> None:
    """A file: the blocks are the file system's, without a name, and go back bit by bit."""
    room = ReservedRoom()
    room.hold(tmp_path, 192 * KIB)
    assert held(room) >= 192 * KIB
    assert list(tmp_path.iterdir()) == []
    room.give_back(10_000)
    room.give_back(60_000)
    assert (room.size, held(room)) == (192 * KIB - 70_000, 128 * KIB)
    room.hold(tmp_path, 256 * KIB)
    assert (room.size, held(room) >= 256 * KIB) == (256 * KIB, True)
    room.give_back(300 * KIB)
    assert (room.size, held(room)) == (0, 0)
    room.release()  # twice does no harm


@pytest.mark.usefixtures("_ways")
def test_less_than_is_held_changes_nothing(tmp_path: Path) -> None:
    """A file: a head that announces less than is held takes nothing away."""
    room = ReservedRoom()
    room.hold(tmp_path, 64 * KIB)
    room.hold(tmp_path, 10)
    assert room.size == 64 * KIB
    room.release()


def test_without_means_to_reserve_much_is_only_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: where room is held by writing, a huge file is not written twice."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    room = ReservedRoom()
    room.hold(tmp_path, 50 * KIB * KIB)
    assert held(room) <= KIB * KIB + 64 * KIB
    with pytest.raises(OSError, match="No space left on device"):
        room.hold(tmp_path, 2**62)
    room.release()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_disk_that_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file: whatever the disk refuses room with is raised."""
    monkeypatch.setattr(os, "posix_fallocate", failing(number), raising=False)
    room = ReservedRoom()
    with pytest.raises(OSError, match=os.strerror(number)):
        room.hold(tmp_path, 64 * KIB)
    room.release()


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """A file: a process that may write small files only (ulimit -f) holds no room for one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * KIB, before[1]))
    room = ReservedRoom()
    try:
        with pytest.raises(OSError, match="File too large"):
            room.hold(tmp_path, 64 * KIB)
    finally:
        room.release()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
