"""What must not be written down is not: the key, and anybody's number."""

from __future__ import annotations

import base64
import logging
import pickle
import re
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from faults import close_before_head
from scripted import FILE, KEY, Vendor
from store_jobs import jobs_of
from store_work import at_work, end_of

from smspartner_async.durable import JobConflictError, JobState, Store, StoreError

if TYPE_CHECKING:
    from pathlib import Path


async def test_neither_key_nor_number_is_in_the_store_the_journal_or_the_log(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a file, an unknown outcome and a failure, neither is anywhere but in the file."""
    caplog.set_level(logging.DEBUG)
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor({2: [close_before_head()]}, states={"tok-3": 3})
    async with at_work(store, vendor):
        ends = [(await end_of(store, f"job-{number}")).state for number in (1, 2, 3)]
    assert ends == [JobState.DONE, JobState.NEEDS_ATTENTION, JobState.FAILED]
    held = {"log": caplog.text.encode(), "DBOS": _kept_by_dbos(store), **_written(tmp_path)}
    assert b"tok-1" in held["DBOS"]
    secrets = [KEY.encode(), *re.findall(rb"\d{11}", FILE)]
    assert len(secrets) == 3
    for name, content in held.items():
        assert not any(secret in content for secret in secrets), name


def _kept_by_dbos(store: Store) -> bytes:
    """Read what DBOS holds of the workflows and their steps: it writes base64."""
    engine = sa.create_engine(store.url)
    with engine.connect() as connection:
        texts = [
            text
            for table in sa.inspect(connection).get_table_names()
            for row in connection.execute(sa.table(table, sa.column("*", is_literal=True)).select())
            for text in row
            if isinstance(text, str)
        ]
    engine.dispose()
    return b"".join(map(_plain, texts))


def _plain(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def _written(folder: Path) -> dict[str, bytes]:
    """Read the database, its write-ahead log, and the journals."""
    paths = [*folder.glob("rentals.db*"), *folder.glob("*.journal/*")]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize(
    "error", [StoreError("The database is away."), JobConflictError(fields={"one": ("volumes",)})]
)
def test_errors_travel(error: Exception) -> None:
    """Every error survives pickling, with all that it holds."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
