"""A worker's own notes of its rents, in a file beside the store: on the disk before anyone goes on.

It tells of a token that the database does not know of: of a worker that died, or lost its jobs to
another one, between the vendor's answer and the record. It holds no key, and no phone number.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from attrs import define, field

from ._errors import ConfigurationError
from ._partfile import fsync_folder, lock

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__package__)

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


@define
class Journal:
    """One worker's file. It is locked while the worker lives, so that no other takes its id.

    Attributes:
        worker_id: stands in the first line of the file: the same after every restart.
    """

    path: Path
    worker_id: str
    _fd: int
    # Of its own: DBOS fills the loop's executor with errands to a database that may be away.
    _thread: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(1), init=False)
    _sync: asyncio.Future[None] | None = field(default=None, init=False)

    @classmethod
    def open(cls, folder: Path, worker_id: str | None) -> Journal:
        """Take the file of `worker_id`, or else the first one that no living worker has.

        Raises:
            ConfigurationError: another living worker has this id.
            OSError: the folder cannot be written to.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = (f"worker-{n}" for n in count(1)) if worker_id is None else (worker_id,)
        for name in names:
            path = folder / f"{name}.jsonl"
            fd = os.open(path, _FLAGS, 0o600)
            try:
                lock(fd)
            except BlockingIOError:
                os.close(fd)
                continue
            path.chmod(0o600)  # it may come from a backup
            first, whole, rest = path.read_bytes().partition(b"\n")
            if not whole:  # new, or cut short by a power cut before anything was done
                os.ftruncate(fd, 0)
                new_id = f"{socket.gethostname()}-{uuid4().hex[:8]}"
                first = json.dumps({"worker": worker_id or new_id}).encode()
                os.write(fd, first + b"\n")
                os.fsync(fd)
                fsync_folder(path)
            elif rest and not rest.endswith(b"\n"):
                os.write(fd, b"\n")  # the last line was cut short: the next one is not part of it
            return cls(path, json.loads(first)["worker"], fd)
        raise ConfigurationError(f"A worker with the id {worker_id!r} is running already.")

    def write(self, **line: Any) -> None:
        """Append a line. It outlives the process at once, and a power cut after `safe`.

        Raises:
            OSError: the disk did not take it.
        """
        line = {"at": now(), **line}
        data = json.dumps(line).encode() + b"\n"
        if (written := os.write(self._fd, data)) < len(data):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(f"{self.path} takes no more: the disk is full.")

    async def safe(self) -> None:
        """Wait until all that was written so far is on the disk."""
        before, self._sync = self._sync, None  # the one under way may have begun too early
        if before is not None:
            await asyncio.wait((before,))
        if self._sync is None:  # all that waited for it share the next one
            loop = asyncio.get_running_loop()
            self._sync = loop.run_in_executor(self._thread, os.fsync, self._fd)
        await asyncio.shield(self._sync)

    def lines(self, nonce: str) -> list[dict[str, Any]]:
        """Find what any worker of this folder wrote of one claim, as far as it can be read."""
        found = []
        for path in sorted(self.path.parent.glob("*.jsonl")):
            try:
                # Those that were not cut short.
                lines = [line for line in path.read_bytes().splitlines() if line.endswith(b"}")]
                found += [json.loads(line) for line in lines if nonce.encode() in line]
            except (OSError, ValueError) as error:
                _log.warning("journal %s cannot be read: %s", path, error)
        return found

    def token(self, nonce: str) -> str | None:
        """Find the token that was paid for with one claim."""
        return next((line["token"] for line in self.lines(nonce) if "token" in line), None)

    def close(self) -> None:
        """Let others have the file, and the worker's id with it."""
        self._thread.shutdown()
        os.close(self._fd)
        self._fd = -1  # the next file to be opened may get its number


def now() -> str:
    """Tell the time, in UTC and ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
