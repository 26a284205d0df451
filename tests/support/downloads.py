"""What the tests of downloads share: a file, a client that asks again at once, a look around."""

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_server import FaultServer

from smspartner_async import ContactFile, RetryPolicy, SMSPartnerClient, SMSPartnerError
from smspartner_async._operations.part_file import PartFile

FILE = b"".join(b"+336%08d\n" % number for number in range(10_000_000, 10_000_400))
OLDER = FILE[:390]  # what a download of this file left behind that broke off
ROOM = 2**16
TOKEN = "tok"
ANOTHERS = b"+33699999999\n" * 30  # and one of another rental's


def client_of(server: FaultServer, **options: Any) -> SMSPartnerClient:
    """A client of this server that makes up to three attempts, without a pause between them."""
    chosen: dict[str, Any] = {"retry": RetryPolicy(attempts=3, first_delay=0), **options}
    return SMSPartnerClient("the-key", base_url=server.base_url, **chosen)


@contextmanager
def part_files(final: Path) -> Iterator[Callable[..., PartFile]]:
    """Make and open part files by hand; what a test leaves open is closed."""
    made = []

    def opened(path: Path = final, *, overwrite: bool = False, write: bytes = b"") -> PartFile:
        part = PartFile(path, TOKEN, overwrite)
        made.append(part)
        assert part.open(ROOM) is None
        part.write(write)
        return part

    yield opened
    for part in made:
        if part.is_open:
            part._end()


async def outcome_of(downloading: Any) -> ContactFile | Exception:
    """The file, or the error that its download ends in."""
    try:
        file: ContactFile = await downloading
    except (SMSPartnerError, OSError) as error:
        return error
    return file


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name, but for the sidecars of parts that are there."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {
        name: data
        for name, data in found.items()
        if not (".part" in name and name.endswith(".json") and name[: -len(".json")] in found)
    }


def leave_behind(part: Path, data: bytes, token: str = TOKEN, *lines: dict[str, Any]) -> None:
    """Leave what an earlier download of this package left, with the lines of its sidecar."""
    part.write_bytes(data)
    sidecar = part.with_name(f"{part.name}.json")
    sidecar.write_text("".join(json.dumps(x) + "\n" for x in ({"token": token}, *lines)), "utf-8")


def sidecar_of(part: Path) -> list[dict[str, Any]]:
    """What stands beside a part."""
    lines = part.with_name(f"{part.name}.json").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def check_nothing_is_left() -> None:
    """No thread of a download lives on, and no file or socket was left to the collector."""
    gc.collect()  # what was not closed warns here, and a warning is an error
    until = time.monotonic() + 120
    while names := [t.name for t in threading.enumerate() if "smspartner" in t.name]:
        assert time.monotonic() < until, names
        time.sleep(0.001)
