"""`download`: where a file may go, and what becomes of the files that are there already."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import faults
import pytest
from downloads import ANOTHERS, FILE, OLDER, check_nothing_is_left, client_of, contents, mode
from fault_server import FaultServer, Reply

from smspartner_async import (
    AlreadyDownloadedError,
    DownloadInterruptedError,
    RateLimitError,
    ResponseError,
    SMSPartnerError,
    TransportError,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    check_nothing_is_left()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


# --- what is there already -------------------------------------------------------------------


async def refuses(path: Path | str, error: type[OSError], *, overwrite: bool = False) -> OSError:
    """The error of a download to a path that cannot be, and nothing was sent."""
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        with pytest.raises(error) as caught:
            await client.download("tok", path, overwrite=overwrite)
        assert server.accepted == 0
    return caught.value


async def test_a_file_that_is_there(folder: Path) -> None:
    """A file: it never replaces another one unless told to; nothing was sent."""
    (folder / "contacts.csv").write_bytes(b"mine")
    error = await refuses(folder / "contacts.csv", FileExistsError)
    assert "overwrite=True" in str(error)
    assert contents(folder) == {"contacts.csv": b"mine"}


@posix_only
async def test_a_dangling_link_that_is_there(folder: Path, tmp_path: Path) -> None:
    """A file: a symbolic link, even one that leads nowhere, is not replaced either."""
    (folder / "contacts.csv").symlink_to(tmp_path / "elsewhere")
    await refuses(folder / "contacts.csv", FileExistsError)
    assert (folder / "contacts.csv").is_symlink()


@posix_only
@pytest.mark.parametrize("kind", ["file", "link"])
async def test_overwrite(folder: Path, tmp_path: Path, kind: str) -> None:
    """A file: with `overwrite` the name is given anew; where it led to is not written to."""
    path, elsewhere = folder / "contacts.csv", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    if kind == "link":
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(b"mine")
        path.chmod(0o644)
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", path, overwrite=True)
    assert contents(folder) == {"contacts.csv": FILE}
    assert (path.is_symlink(), mode(path), elsewhere.read_bytes()) == (False, 0o600, b"theirs")


async def test_a_file_that_appears_meanwhile(folder: Path) -> None:
    """A file: one that appears during the transfer stays, and the download is kept whole."""
    path = folder / "contacts.csv"
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        with pytest.raises(FileExistsError, match=r"The whole file is kept in .*csv\.part\."):
            await client.download("tok", path, on_progress=lambda *_: path.write_bytes(b"mine"))
        assert server.count("download") == 1
    assert contents(folder) == {"contacts.csv": b"mine", "contacts.csv.part": FILE}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["", ".", "..", "/", "../folder", "../folder/"])
async def test_a_folder_is_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, overwrite: bool
) -> None:
    """A file: a path that is a folder is refused; nothing was sent."""
    monkeypatch.chdir(folder)
    await refuses(name, IsADirectoryError, overwrite=overwrite)
    assert contents(folder) == {}


@posix_only
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("missing/contacts.csv", errno.ENOENT),
        ("file/contacts.csv", errno.ENOTDIR),
        ("file/contacts.csv/deeper.csv", errno.ENOTDIR),
        ("~/contacts.csv", errno.ENOENT),
        ("linked.csv", errno.ELOOP),
        ("taken.csv", errno.EISDIR),
        ("x" * 251, errno.ENAMETOOLONG),
    ],
)
async def test_a_place_that_cannot_be_written_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """A file: a place where it cannot be written is told before anything is sent."""
    monkeypatch.chdir(folder)
    (folder / "file").write_bytes(b"mine")
    (folder / "linked.csv.part").symlink_to(folder / "elsewhere")
    (folder / "taken.csv.part").mkdir()
    assert (await refuses(name, OSError)).errno == number
    assert (folder / "file").read_bytes() == b"mine"
    assert not (folder / "elsewhere").exists()


# --- paths -----------------------------------------------------------------------------------


class OtherPath:
    """A path that is no `pathlib.Path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


NAMES = ["contacts.csv", "no suffix", "été à Nîmes ☎.csv", ".hidden", "a.part"]


@pytest.mark.parametrize("kind", [str, Path, OtherPath])
@pytest.mark.parametrize("name", NAMES)
async def test_every_kind_of_path(
    folder: Path, kind: Callable[[Path], str | os.PathLike[str]], name: str
) -> None:
    """A file: its path is text or any path, in any language."""
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        file = await client.download("tok", kind(folder / name))
    assert contents(folder) == {name: FILE}
    assert file.path == folder / name


async def test_a_relative_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: a relative path means what it meant at the call, wherever the process goes then."""
    monkeypatch.chdir(folder)
    script = (faults.vendor_error(429, "Non", 429), faults.good(FILE))
    async with FaultServer(*script) as server, client_of(server) as client:
        file = await client.download("tok", "a.csv", on_progress=lambda *_: os.chdir(tmp_path))
        assert server.count("download") == 2
        assert file.path == folder / "a.csv"
        monkeypatch.chdir(folder)
        with pytest.raises(FileExistsError, match=str(folder / "a.csv")):
            await client.download("tok", "a.csv")
    assert contents(folder) == {"a.csv": FILE}


async def test_a_home_is_not_guessed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file: `~` is a name as any other, as for `open()`."""
    (folder / "~").mkdir()
    monkeypatch.chdir(folder)
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", "~/contacts.csv")
    assert contents(folder / "~") == {"contacts.csv": FILE}


# --- what an earlier download left behind ----------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "left"),
    [
        (faults.good(FILE), None, {"a": FILE}),
        (faults.until_close(FILE), None, {"a": FILE, "a.part.1": OLDER}),
        (faults.vendor_error(34, "Non"), AlreadyDownloadedError, {"a.part": OLDER}),
        (faults.busy(429), RateLimitError, {"a.part": OLDER}),
        (faults.empty(200), ResponseError, {"a.part": OLDER}),
        (faults.close_before_head(), TransportError, {"a.part": OLDER}),
        (faults.reset_before_head(), TransportError, {"a.part": OLDER}),
        (faults.close_within_head(FILE), TransportError, {"a.part": OLDER}),
        (
            faults.close_within_body(FILE),
            DownloadInterruptedError,
            {"a.part": FILE[: len(FILE) // 2], "a.part.1": OLDER},
        ),
    ],
    ids=["whole", "unverified", "no", "429", "empty", "close", "reset", "head", "body"],
)
async def test_older_numbers(
    folder: Path, reply: Reply, error: type[SMSPartnerError] | None, left: dict[str, bytes]
) -> None:
    """A file: paid numbers of an earlier attempt last until a later one is proven whole."""
    (folder / "a.part").write_bytes(OLDER)
    async with FaultServer(reply) as server, client_of(server) as client:
        if error is None:
            await client.download("tok", folder / "a")
        else:
            with pytest.raises(error):
                await client.download("tok", folder / "a")
    assert contents(folder) == left


async def test_another_rental_to_the_same_path(folder: Path) -> None:
    """A file: paid numbers of one rental outlive the whole file of another at the same path."""
    script = (faults.close_within_body(ANOTHERS), faults.good(FILE))
    async with FaultServer(*script) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError):
            await client.download("one", folder / "a")
        await client.download("another", folder / "a")
    assert contents(folder) == {"a": FILE, "a.part.1": ANOTHERS[: len(ANOTHERS) // 2]}


async def test_broken_off_again_and_again(folder: Path) -> None:
    """A file: each attempt that breaks off keeps its own, until a whole one replaces them all."""
    halves = [faults.close_within_body(FILE[:size]) for size in (1000, 2000, 3000)]
    async with FaultServer(*halves, faults.good(FILE)) as server, client_of(server) as client:
        for _ in halves:
            with pytest.raises(DownloadInterruptedError) as caught:
                await client.download("tok", folder / "a")
            assert caught.value.path == folder / "a.part"
        assert contents(folder) == {
            "a.part.1": FILE[:500],
            "a.part.2": FILE[:1000],
            "a.part": FILE[:1500],
        }
        await client.download("tok", folder / "a")
    assert contents(folder) == {"a": FILE}


async def test_two_at_once(folder: Path) -> None:
    """A file: of downloads to one path at once all but one are refused unsent; nothing is mixed."""
    script = faults.drip_body(FILE, size=500)
    async with FaultServer(script) as server, client_of(server) as one, client_of(server) as two:
        outcomes = await asyncio.gather(
            *(client.download("tok", folder / "a") for client in (one, two, one)),
            return_exceptions=True,
        )
        assert server.count("download") == 1
    refusals = [outcome for outcome in outcomes if isinstance(outcome, FileExistsError)]
    assert len(refusals) == 2
    assert "Another download is writing" in str(refusals[0])
    assert contents(folder) == {"a": FILE}


async def test_two_paths_at_once(folder: Path) -> None:
    """A file: downloads to different paths run side by side."""
    script = faults.drip_body(FILE, size=500)
    async with FaultServer(script) as server, client_of(server) as client:
        await asyncio.gather(*(client.download("tok", folder / name) for name in "abcd"))
        assert server.connections == [1] * 4
    assert contents(folder) == dict.fromkeys("abcd", FILE)
