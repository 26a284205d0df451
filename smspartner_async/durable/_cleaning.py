"""Remove what is personal of jobs that have ended: targetings, and parts of files.

A job keeps its id, state, token, price and file. In place of its targeting stands one that says
nothing, with a limit of 0: no release rents anything by it. What journals say of payments stays,
without the targetings: an older copy of the store must not pay again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import define, field, frozen
from dbos import DBOSClient

from smspartner_async._files import OWNER_ONLY, PRIVATE, JsonLines, fsync_folder, parse_lines
from smspartner_async._models import Targeting
from smspartner_async._operations.part_name import leftovers_of
from smspartner_async.batch._job import RentalJob, case_folded

from ._database.jobs import read_store_id
from ._database.tables import JOBS, RUNS, SECOND, WORKERS
from ._database.urls import connect_args, create_dbos_engine
from ._identity import NO_INTEREST, is_cleaned
from ._journal import Journal
from ._records import Job, JobState, dump_job, record_from_row, workflow_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from smspartner_async._operations.leftover import Leftover

    from ._database.database import JobDatabase
    from ._records import JobRecord

_AT_WORK: Final = 60 * SECOND  # since its last beat
_NOBODY: Final = Targeting(gender="mixed", min_age=18, max_age=98, interest=NO_INTEREST)
_UNPAID: Final = {JobState.FAILED, JobState.GIVEN_UP}


@frozen(kw_only=True)
class Cleaned:
    """What `Store.clean` has removed, or would remove.

    Attributes:
        jobs: the ids of the jobs whose targetings these are.
        kept: those of the jobs that stay as they are: open, in doubt, or paid without a file.
        parts: what downloads of these jobs have left behind on this machine.
        journals: the journals at hand that hold targetings of these jobs.
    """

    jobs: tuple[str, ...]
    kept: tuple[str, ...]
    parts: tuple[Path, ...]
    journals: tuple[Path, ...]


@define(eq=False)
class Cleaning:
    """One cleaning of a store: what there is to remove, and its removal.

    Attributes:
        folder: of the journals at hand.
        beside_store: whether the folder belongs to this store alone.
    """

    database: JobDatabase
    folder: Path
    beside_store: bool
    ended: dict[str, JobRecord] = field(factory=dict, init=False)
    _leftovers: list[Leftover] = field(factory=list, init=False)
    _journals: list[Path] = field(factory=list, init=False)
    _store_id: str = field(default="", init=False)

    async def plan(self) -> Cleaned:
        """Find what there is to remove, and return it for a person to see.

        Raises:
            ValueError: a worker of this store is at work.
        """
        self._store_id, at_work = await self.database.run(_state_of_store)
        records = [record_from_row(row) for row in await self.database.read_jobs()]
        self.ended = {one.id: one for one in records if has_ended(one)}
        await asyncio.to_thread(self._search, at_work)
        return Cleaned(
            jobs=tuple(one.id for one in self.ended.values() if not one.cleaned),
            kept=tuple(one.id for one in records if one.id not in self.ended),
            parts=tuple(leftover.path for leftover in self._leftovers),
            journals=tuple(self._journals),
        )

    async def do(self) -> None:
        """Remove it. Broken off, it is done again: what was removed last is looked for first."""
        await asyncio.to_thread(self._forget_workflows)
        await self.database.run(_clean_rows, [*self.ended])
        await asyncio.to_thread(self._remove_files)
        if self.database.is_sqlite:
            await self.database.compact()

    def _search(self, at_work: Iterable[str]) -> None:
        """Find the files; see that nobody writes them."""
        paths = sorted(self.folder.glob("*.jsonl"))
        for worker in at_work:
            if not any(Journal.has_ended(path, worker) for path in paths):
                raise ValueError(
                    f"Worker {worker} is at work, or was within the last minute. Nothing was "
                    "removed. End all workers of this store first."
                )
        self._leftovers = [
            leftover
            for one in self.ended.values()
            if one.token is not None
            for leftover in leftovers_of(one.job.path, one.token)
        ]
        self._journals = [p for p in paths if self._without_targetings(p.read_bytes())]
        for path in self._journals:
            try:
                JsonLines.open(path).close()
            except BlockingIOError:
                raise ValueError(
                    f"A worker writes {path} at this moment. Nothing was removed. End it first."
                ) from None

    def _without_targetings(self, journal: bytes) -> list[dict[str, Any]]:
        """Return the lines of a journal without targetings; none where there is none to remove."""
        ids = {case_folded(job_id) for job_id in self.ended}
        lines, has_some = parse_lines(journal), False
        for line in lines:
            counts = line.get("store") == self._store_id or self.beside_store
            if counts and case_folded(line.get("job", "")) in ids and "sending" in line:
                has_some = has_some or not is_cleaned(line["sending"])
                line["sending"] = _cleaned_text(line["sending"])
        return lines if has_some else []

    def _forget_workflows(self) -> None:
        url = self.database.url
        engine = create_dbos_engine(url) or sa.create_engine(url, connect_args=connect_args(url))
        try:
            schema = None if self.database.is_sqlite else "dbos"
            if sa.inspect(engine).has_table("workflow_status", schema=schema):
                client = DBOSClient(system_database_engine=engine)
                client.delete_workflows([run for one in self.ended.values() for run in _runs(one)])
                client.destroy()
        finally:
            engine.dispose()

    def _remove_files(self) -> None:
        for path in self._journals:
            with closing(JsonLines.open(path)) as file:
                _replace(file, self._without_targetings(path.read_bytes()))
        for leftover in self._leftovers:
            leftover.remove()


def has_ended(known: JobRecord) -> bool:
    """Return whether a job has ended, and nothing that is paid for it is missing or in doubt."""
    is_unpaid = known.token is None and known.state in _UNPAID
    return (known.state is JobState.DONE or is_unpaid) and not known.late_tokens


def _state_of_store(database: JobDatabase, connection: sa.Connection) -> tuple[str, list[str]]:
    recent = sa.select(WORKERS.c.id).where(WORKERS.c.seen > database.now - _AT_WORK)
    return read_store_id(database, connection), list(connection.execute(recent).scalars())


def _clean_rows(_: JobDatabase, connection: sa.Connection, ids: Collection[str]) -> None:
    """Take the targetings out of the rows of jobs that have not begun again meanwhile."""
    for row in connection.execute(sa.select(JOBS, sa.null().label("late_tokens"))).all():
        if row.id not in ids or not has_ended(record_from_row(row)):
            continue
        facts = json.dumps(_without_lines(json.loads(row.facts)))
        values = {"content": _cleaned_text(row.content), "facts": facts}
        connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(**values))
    for run in connection.execute(sa.select(RUNS).where(RUNS.c.job.in_(ids))).all():
        claim = json.dumps(_without_lines(json.loads(run.claim)))
        this = sa.and_(RUNS.c.job == run.job, RUNS.c.run == run.run)
        connection.execute(sa.update(RUNS).where(this).values(claim=claim))


def _without_lines(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts without the lines of journals in them: these hold targetings."""
    return {
        name: _without_lines(value) if isinstance(value, dict) else value
        for name, value in facts.items()
        if name != "journal_lines"
    }


def _cleaned_text(content: str) -> str:
    path = json.loads(content)["path"]
    return dump_job(RentalJob(id="cleaned", targeting=_NOBODY, max_total=Decimal(0), path=path))


def _runs(known: JobRecord) -> Iterable[str]:
    """Return the ids of a job's workflows, of all its runs."""
    for run in range(1, known.run + 1):
        yield workflow_id(Job(id=known.id, run=run, content="", token=None, price=None))


def _replace(file: JsonLines, lines: Iterable[Mapping[str, Any]]) -> None:
    """Put lines in the place of those of a locked file, whole or not at all."""
    new = file.path.with_suffix(".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | PRIVATE, OWNER_ONLY)
    with os.fdopen(fd, "w", encoding="utf-8") as text:
        text.writelines(f"{json.dumps(line)}\n" for line in lines)
        text.flush()
        os.fsync(fd)
    if sys.platform == "win32":
        file.close()  # an open file cannot be replaced there
    new.replace(file.path)
    fsync_folder(file.path)
