"""`download` in a process that dies, beside another process, on a full disk, of a huge file."""

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import faults
import pytest
from downloads import FILE, client_of, contents, leave_behind
from fault_server import Drip, FaultServer, Flood, Reply, Send, Stall

from smspartner_async import DownloadInterruptedError

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")

# Imports the client once and forks a process for each line that it reads: a download each, which
# ends by itself, is killed from outside, or kills itself around the n-th step of its finish.
NURSERY = """
import asyncio, json, os, signal, sys
from contextlib import suppress
from smspartner_async import SMSPartnerClient

class Deadly:
    def __init__(self, name, counter, fatal):
        self.really, self.counter, self.fatal = getattr(os, name), counter, fatal
    def __call__(self, *args, **options):
        self.step()
        result = self.really(*args, **options)
        self.step()
        return result
    def step(self):
        self.counter.append(1)
        if len(self.counter) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

async def download(url, path, overwrite):
    async with SMSPartnerClient("the-key", base_url=url) as client:
        with suppress(FileExistsError):
            await client.download("tok", path, overwrite=overwrite)

for line in sys.stdin:
    url, path, overwrite, fatal = json.loads(line)
    if child := os.fork():
        print(child, flush=True)
        if fatal is not None:
            print(os.waitpid(child, 0)[1], flush=True)
        continue
    if fatal is not None:
        counter = []
        for name in ("fsync", "link", "rename", "replace", "unlink"):
            setattr(os, name, Deadly(name, counter, fatal))
    asyncio.run(download(url, path, overwrite))
    os._exit(0)
"""


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@asynccontextmanager
async def python(code: str, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process, which does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Nursery:
    """Starts downloads in separate processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout

    async def start(
        self, server: FaultServer, path: Path, *, overwrite: bool = False, fatal: int | None = None
    ) -> int:
        """Start a download, to be killed at a `fatal` step; its process id."""
        order = (server.base_url, str(path), overwrite, fatal)
        self._to.write(json.dumps(order).encode() + b"\n")
        return await self.number()

    async def number(self) -> int:
        return int(await self._from.readline())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while True:
            with suppress(FileNotFoundError):  # renamed between the listing and the reading
                if condition():
                    return
            await asyncio.sleep(0.001)


def has_asked(server: FaultServer, times: int) -> bool:
    return server.count("download") == times


def has_arrived(path: Path, size: int) -> bool:
    """Whether so many bytes of a file are on the disk; at its final name it is whole."""
    found = contents(path.parent)
    assert found.get(path.name, FILE) == FILE
    return len(found.get(path.name, found.get(f"{path.name}.part", b""))) >= size


def is_gone(process: int) -> bool:
    """Whether it holds no file open; its first thread may well be dead before the others."""
    tasks = Path(f"/proc/{process}/task")
    return len([*tasks.iterdir()]) == 1 and ") Z " in (tasks.parent / "stat").read_text()


@needs_proc
async def test_killed_at_random_moments(tmp_path: Path) -> None:
    """A file: kill -9 at any moment leaves the final name absent or whole, and all in `.part`."""
    chance = random.Random(7)
    ends: Counter[str] = Counter()
    async with FaultServer(faults.good(FILE)) as server, python(NURSERY) as process:
        nursery = Nursery(process)
        for turn in range(40):
            # How much the vendor sends before it stops, and on how much of it the kill waits.
            sent = chance.choice([0, 1, len(FILE) - 1, len(FILE), chance.randint(0, len(FILE))])
            fatal = chance.choice([0, sent, chance.randint(0, sent)])
            body = Drip(FILE[:sent], 0, len(FILE) // 40 + 1)
            server.play(Reply((Send(faults.good_head(FILE)), body, Stall())))
            path = tmp_path / str(turn) / "contacts.csv"
            await asyncio.to_thread(path.parent.mkdir)
            child = await nursery.start(server, path)
            await until(partial(has_asked, server, turn + 1))
            await until(partial(has_arrived, path, fatal))
            os.kill(child, signal.SIGKILL)
            await until(partial(is_gone, child))
            left = contents(path.parent)
            assert left.get(path.name, FILE) == FILE
            part = left.get("contacts.csv.part", b"")
            assert FILE.startswith(part)
            assert set(left) <= {path.name, "contacts.csv.part", "contacts.csv.part.json"}
            assert len(left.get(path.name, part)) >= fatal
            ends["whole" if path.name in left else "part" if part else "nothing"] += 1
            if turn % 8 == 0:  # whatever is left, a later download is whole
                async with FaultServer(faults.good(FILE)) as later, client_of(later) as client:
                    await client.download("tok", path, overwrite=True)
                assert contents(path.parent) == {path.name: FILE}
        assert server.count("download") <= 40
    assert ends["part"] >= 5, ends


@posix_only
@pytest.mark.parametrize("overwrite", [False, True])
async def test_killed_around_each_step(tmp_path: Path, *, overwrite: bool) -> None:
    """A file: after kill -9 around any step, a whole file is finished without being asked for.

    Where its last byte had not come, a later download works, and nothing is left behind.
    """
    older = {"contacts.csv": b"mine"} if overwrite else {}
    asked_again = []
    async with FaultServer(faults.good(FILE)) as server, python(NURSERY) as process:
        nursery = Nursery(process)
        for fatal in range(1, 40):
            path = tmp_path / str(fatal) / "contacts.csv"
            make_folder(path, older)
            await nursery.start(server, path, overwrite=overwrite, fatal=fatal)
            status = await nursery.number()
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
            left = everything(path.parent)
            assert left.get(path.name, FILE) in (FILE, older.get(path.name))
            names = {path.name, "contacts.csv.part", "contacts.csv.part.json"}
            assert set(left) <= names
            count = server.count("download")
            async with client_of(server) as client:
                file = await client.download("tok", path, overwrite=True)
            assert file.verified
            assert everything(path.parent) == {path.name: FILE}
            is_known = FILE in left.values() and "contacts.csv.part.json" in left
            asked_again.append(server.count("download") > count)
            assert asked_again[-1] is not is_known, left
    # Before the first byte: a look for an empty part, the fsyncs of the sidecar and its folder. At
    # the end: the sidecar's removal.
    assert asked_again == [*[True] * 5, *[False] * (len(asked_again) - 6), True]
    assert len(asked_again) == (15 if overwrite else 17)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, sidecars too."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def make_folder(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir()
    for name, content in files.items():
        (path.parent / name).write_bytes(content)


@needs_proc
async def test_two_processes(path: Path) -> None:
    """A file: while one process downloads it another is refused unsent; when it dies, it is not."""
    script = Reply((Send(faults.good_head(FILE)), Drip(FILE, 0.05, 500)))
    async with (
        FaultServer(script, faults.good(FILE)) as server,
        client_of(server) as client,
        python(NURSERY) as process,
    ):
        child = await Nursery(process).start(server, path)
        await until(lambda: bool(contents(path.parent).get("contacts.csv.part")))
        with pytest.raises(FileExistsError, match="Another download is writing"):
            await client.download("tok", path)
        assert server.count("download") == 1
        os.kill(child, signal.SIGKILL)
        await until(partial(is_gone, child))
        assert FILE.startswith(contents(path.parent)["contacts.csv.part"])
        await client.download("tok", path)
    assert contents(path.parent) == {path.name: FILE}


@needs_proc
async def test_many_processes_at_once(path: Path) -> None:
    """A file: of many processes that race for one path one gets it, and older numbers outlast it.

    The others are refused, or find the file there; nothing is mixed.
    """
    part = path.with_name("contacts.csv.part")
    script = faults.until_close(FILE)
    async with FaultServer(script) as server, python(NURSERY) as process:
        nursery = Nursery(process)
        for turn in range(6):
            leave_behind(part.with_name(f"contacts.csv.part.{turn}"), b"%d" % turn, "another")
            children = [await nursery.start(server, path, overwrite=True) for _ in range(5)]
            for child in children:
                await until(partial(is_gone, child))
            left = contents(path.parent)
            assert left.pop(path.name) == FILE
            assert sorted(left.values()) == [b"%d" % number for number in range(turn + 1)]


# --- the disk and the memory -----------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 80 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if not sys.platform.startswith("linux") or mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    command = (mount, "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(folder))
    if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603 - fixed
        pytest.skip("this machine does not let root mount a tmpfs, as in most containers")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)  # noqa: S603, S607 - fixed


async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    """A file: where there is no room for it, it is not asked for; with room, it comes."""
    path, fill = small_disk / "contacts.csv", small_disk / "fill"
    await asyncio.to_thread(fill.write_bytes, bytes(2**14))
    async with FaultServer(faults.good(FILE)) as server, client_of(server) as client:
        with pytest.raises(OSError, match=r"no room for the file.*Nothing was sent") as caught:
            await client.download("tok", path)
        assert caught.value.errno == errno.ENOSPC
        assert server.accepted == 0
        assert contents(small_disk) == {"fill": bytes(2**14)}
        await asyncio.to_thread(fill.unlink)
        await client.download("tok", path)
    assert contents(small_disk) == {path.name: FILE}


async def test_a_file_larger_than_its_disk(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: of one that outgrows its disk, the rest is in the temporary folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    large = FILE * 40
    async with FaultServer(faults.good(large)) as server, client_of(server) as client:
        with pytest.raises(DownloadInterruptedError, match="No space left on device") as caught:
            await client.download("tok", small_disk / "contacts.csv")
    [rest] = contents(temporary).values()
    kept = contents(small_disk)["contacts.csv.part"]
    assert len(kept) > 2**16
    assert kept + rest == large
    assert (caught.value.received, caught.value.expected) == (len(large), len(large))


LARGE = 2**30 if os.environ.get("CI_LONG") else 2**28
# Prints the highest memory of the process before and after a large download, in kB.
MEASURED = """
import asyncio, re, sys
from smspartner_async import SMSPartnerClient

def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])

async def main(url, folder):
    async with SMSPartnerClient("the-key", base_url=url) as client:
        await client.download("tok", folder + "/small")
        idle = peak()
        file = await client.download("tok", folder + "/large")
        print(idle, peak(), file.size, file.verified)

asyncio.run(main(*sys.argv[1:]))
"""


@needs_proc
async def test_constant_memory(path: Path) -> None:
    """A file: one of 256 MiB (or 1 GiB) takes less than 20 MB above the idle process."""
    piece = random.Random(7).randbytes(2**18)
    head = faults.head(200, f"Content-Length: {LARGE}")
    large = Reply((Send(head), Flood(piece, LARGE // len(piece))))
    async with (
        FaultServer(faults.good(FILE), large) as server,
        python(MEASURED, server.base_url, str(path.parent)) as process,
    ):
        output, _ = await process.communicate()
    await asyncio.to_thread(shutil.rmtree, path.parent)
    idle, peak, size, verified = output.decode().split()
    assert (int(size), verified) == (LARGE, "True")
    assert int(peak) - int(idle) < 20_000
