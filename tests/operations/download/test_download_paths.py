"""`download`: where a file may go, and what becomes of the files that are there already."""

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import faults
import pytest
from downloads import (
    ANOTHERS,
    FILE,
    OLDER,
    client_of,
    contents,
    leave_behind,
    mode,
)
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


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# --- what is there already -------------------------------------------------------------------


async def refuses(path: Path | str, error: type[OSError], *, overwrite: bool = False) -> OSError:
    """The error of a download to a path that cannot be, and nothing was sent."""
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        with pytest.raises(error) as caught:
            await client.download("tok", path, overwrite=overwrite)
        assert server.accepted == 0
    return caught.value


async def test_a_file_that_is_there(folder: Path) -> None:
    """A file: it never replaces another one unless asked to; nothing was sent."""
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
@pytest.mark.parametrize("name", [".", "..", "/", "../folder", "../folder/"])
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
        ("x" * 246, errno.ENAMETOOLONG),
    ],
)
async def test_a_place_that_cannot_be_written_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """A file: a place where it cannot be written is refused before anything is sent.

    The error names the folder, where that is what is wrong.
    """
    monkeypatch.chdir(folder)
    (folder / "file").write_bytes(b"mine")
    error = await refuses(name, OSError)
    assert error.errno == number
    assert number == errno.ENAMETOOLONG or error.filename == f"{(folder / name).parent}/"
    assert (folder / "file").read_bytes() == b"mine"


@posix_only
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a", "a is a FIFO, socket or device; name a file"),
        ("a.part.json", "no file: move it away"),
    ],
)
async def test_a_fifo_at_a_name_of_the_download(
    folder: Path, name: str, words: str, *, overwrite: bool
) -> None:
    """A file: what waits for a reader or a writer is refused, not waited for; nothing was sent."""
    os.mkfifo(folder / name)
    error = await refuses(folder / "a", OSError, overwrite=overwrite)
    assert words in str(error)
    assert await asyncio.to_thread(os.listdir, folder) == [name]
    assert (folder / name).is_fifo()


@posix_only
async def test_a_device_is_never_replaced(folder: Path) -> None:
    """A file: with `overwrite`, neither /dev/null nor a link to it loses its name."""
    (folder / "a").symlink_to(os.devnull)
    await refuses(folder / "a", FileExistsError, overwrite=True)
    await refuses(os.devnull, FileExistsError, overwrite=True)
    assert (folder / "a").is_symlink()
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116 - no thread for a look


@posix_only
@pytest.mark.parametrize("reply", [faults.good(FILE), faults.close_within_body(FILE)])
async def test_a_fifo_in_place_of_a_part(folder: Path, reply: Reply) -> None:
    """A file: what took the place of a part of this rental stays, and is not waited for."""
    leave_behind(folder / "a.part", OLDER)
    (folder / "a.part").unlink()
    os.mkfifo(folder / "a.part")
    async with FaultServer(reply) as server, client_of(server) as client:
        with suppress(DownloadInterruptedError):
            await client.download("tok", folder / "a")
    assert (folder / "a.part").is_fifo()


@posix_only
async def test_what_is_at_the_name_of_a_part(folder: Path, tmp_path: Path) -> None:
    """A file: what somebody else put at the names of its parts stays, and hinders nothing."""
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (folder / "a.part").symlink_to(tmp_path / "elsewhere")
    (folder / "a.part.1").mkdir()
    os.mkfifo(folder / "a.part.2")
    (folder / "a.part.3").write_bytes(b"")
    (folder / "a.part.4.json").write_bytes(b'{"mine": 1}')
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        await client.download("tok", folder / "a")
    names = ["a", "a.part", "a.part.1", "a.part.2", "a.part.3", "a.part.4.json"]
    assert sorted(await asyncio.to_thread(os.listdir, folder)) == names
    assert (folder / "a").read_bytes() == FILE
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert (folder / "a.part.4.json").read_bytes() == b'{"mine": 1}'


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
        (faults.until_close(FILE), None, {"a": FILE}),
        (faults.vendor_error(34, "Non"), AlreadyDownloadedError, {}),
        (faults.busy(429), RateLimitError, {}),
        (faults.empty(200), ResponseError, {}),
        (faults.close_before_head(), TransportError, {}),
        (
            faults.close_within_body(FILE),
            DownloadInterruptedError,
            {"a.part.1": FILE[: len(FILE) // 2]},
        ),
    ],
    ids=["whole", "unverified", "no", "429", "empty", "close", "body"],
)
async def test_a_part_without_a_sidecar(
    folder: Path, reply: Reply, error: type[SMSPartnerError] | None, left: dict[str, bytes]
) -> None:
    """A file: a part that may be release 0.1's stays where it is, and an error names it."""
    (folder / "a.part").write_bytes(OLDER)
    async with FaultServer(reply) as server, client_of(server) as client:
        if error is None:
            await client.download("tok", folder / "a")
        else:
            with pytest.raises(error) as caught:
                await client.download("tok", folder / "a")
            assert f"{folder / 'a.part'} holds 390 bytes" in caught.value.__notes__[-1]
            assert "release 0.1" in caught.value.__notes__[-1]
    assert contents(folder) == {"a.part": OLDER, **left}


async def test_a_part_of_this_rental(folder: Path) -> None:
    """A file: a part that nothing proves whole outlives a refusal, which names it."""
    script = (faults.close_within_body(FILE), faults.vendor_error(34, "Non"))
    async with FaultServer(*script) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError):
            await client.download("tok", folder / "a")
        with pytest.raises(AlreadyDownloadedError) as caught:
            await client.download("tok", folder / "a")
    note = f"{folder / 'a.part'} holds 2600 bytes of an earlier download of this rental."
    assert caught.value.__notes__[-1].startswith(note)
    assert contents(folder) == {"a.part": FILE[:2600]}


async def test_another_rental_to_the_same_path(folder: Path) -> None:
    """A file: paid numbers of one rental outlive the whole file of another at the same path."""
    script = (faults.close_within_body(ANOTHERS), faults.good(FILE))
    async with FaultServer(*script) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError):
            await client.download("one", folder / "a")
        await client.download("another", folder / "a")
    assert contents(folder) == {"a": FILE, "a.part": ANOTHERS[: len(ANOTHERS) // 2]}


async def test_broken_off_again_and_again(folder: Path) -> None:
    """A file: parts do not pile up: the longest is kept, until a whole file replaces it."""
    halves = [faults.close_within_body(FILE[:size]) for size in (1000, 3000, 2000, 3000)]
    async with FaultServer(*halves, faults.good(FILE)) as server, client_of(server) as client:
        for kept in (500, 1500, 1500, 1500):
            with pytest.raises(DownloadInterruptedError) as caught:
                await client.download("tok", folder / "a")
            assert contents(folder) == {caught.value.path.name: FILE[:kept]}
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
