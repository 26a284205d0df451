"""A worker's journal of its rents: lines in a file, on the disk before the worker continues.

It holds tokens that the database does not know, of workers that died, or lost their jobs to others,
between the vendor's answer and the update. It holds no key, and no phone number.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from attrs import define, field

from smspartner_async._errors import ConfigurationError
from smspartner_async._files import JsonLines, parse_lines, read_file

from ._claims import JournalClaims, claims_in, read_journals, worker_of

if TYPE_CHECKING:
    from pathlib import Path


@define
class Journal:
    """One worker's journal file, locked while the worker runs, so that no other takes its id.

    Attributes:
        worker_id: from the first line of the file: the same after every restart.
        claims: the rents in all journals of the folder, once `open_claims` has read them.
    """

    worker_id: str
    _file: JsonLines
    claims: JournalClaims | None = field(default=None, init=False)
    # Not the loop's executor: DBOS fills that with calls to a database that may be away.
    _thread: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(1), init=False)
    _sync: asyncio.Future[None] | None = field(default=None, init=False)

    @classmethod
    def open(cls, folder: Path, worker_id: str | None) -> Journal:
        """Open the file of `worker_id`, or else the first one that no running worker has locked.

        Raises:
            ConfigurationError: another running worker has this id.
            OSError: the folder cannot be written to.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = (f"worker-{n}" for n in count(1)) if worker_id is None else (worker_id,)
        for name in names:
            try:
                file = JsonLines.open(folder / f"{name}.jsonl")
            except BlockingIOError:
                continue
            if (known := worker_of(file.read())) is not None:
                return cls(known, file)
            new_id = f"{socket.gethostname()}-{uuid4().hex[:8]}"
            file.append({"worker": worker_id or new_id})
            file.sync()
            return cls(worker_id or new_id, file)
        raise ConfigurationError(f"A worker with the id {worker_id!r} is running already.")

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    def write(self, **line: Any) -> None:
        """Append a line. It survives a crash at once, and a power cut after `flush`.

        Raises:
            OSError: the line could not be written.
        """
        if self.claims is not None:
            line = {"store": self.claims.store_id, **line}
        line = {"at": utc_timestamp(), **line}
        self._file.append(line)
        if self.claims is not None:
            self.claims.add(line, self.worker_id, self.path)

    def open_claims(self, store_id: str, *, beside_store: bool) -> JournalClaims:
        """Read the rents in all journals of this folder, for one store."""
        self.claims = claims_in(self.path.parent, store_id, beside_store=beside_store)
        return self.claims

    async def flush(self) -> None:
        """Wait until all lines written so far are on the disk."""
        before, self._sync = self._sync, None  # the one under way may have begun too early
        if before is not None:
            await asyncio.wait((before,))
        if self._sync is None:  # all that waited for it share the next one
            loop = asyncio.get_running_loop()
            self._sync = loop.run_in_executor(self._thread, self._file.sync)
        await asyncio.shield(self._sync)

    def lines(self, claim_id: str) -> list[dict[str, Any]]:
        """Return the lines about one claim in all readable journals of this folder."""
        journals = read_journals(self.path.parent)
        return [line for _, lines in journals for line in lines if line.get("nonce") == claim_id]

    def token(self, claim_id: str) -> str | None:
        """Return the token that was paid for with one claim, if a journal has it."""
        return next((line["token"] for line in self.lines(claim_id) if "token" in line), None)

    @staticmethod
    def has_ended(path: Path, worker_id: str) -> bool:
        """Whether `path` is the journal of a worker on this machine whose process has ended."""
        try:
            if worker_of(parse_lines(read_file(path))) != worker_id:
                return False
            JsonLines.open(path).close()  # it is locked while its worker runs
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Unlock the file, and with it the worker's id."""
        self._thread.shutdown()
        self._file.close()


def utc_timestamp() -> str:
    """Return the time in UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
