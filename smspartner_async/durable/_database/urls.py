"""The URL of a store, the engines for it, and what its errors mean."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.event import listens_for
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from smspartner_async._errors import ConfigurationError
from smspartner_async._files import OWNER_ONLY, check_writable
from smspartner_async._operations.final_name import create_private
from smspartner_async._validation import check_type
from smspartner_async.durable._records import StoreError

_FILE: Final = "sqlite:///"
_MEMORY: Final = "sqlite:///:memory:"
_OPTIONS: Final = re.compile(r"\?\w+=[^/]*$")
_UNIXEPOCH: Final = (3, 42)  # the SQLite whose unixepoch() knows 'subsec'
_BUSY: Final = 30  # seconds to wait for another writer
_READ_ONLY: Final = "25006"  # Postgres: a standby that is not promoted yet, for example


def parse_store_url(given: str) -> sa.URL:
    """Return the URL of a store.

    Raises:
        ConfigurationError: the URL names neither a SQLite file nor a Postgres database.
        TypeError: the URL is no text.
    """
    check_type("url", given, str, hint="Such as sqlite:////path/to/rentals.db.")
    if given.startswith(_FILE) and given not in (_FILE, _MEMORY):
        if options := _OPTIONS.search(given):
            raise ConfigurationError(
                f"A store in SQLite takes no options: leave out {options[0]!r}."
            )
        # Not parsed: ? and % in a path would count as syntax, and lead to another file.
        path = Path(given.removeprefix(_FILE)).absolute()
        return sa.URL.create("sqlite", database=str(path))
    try:
        url = sa.make_url(given)
    except (ArgumentError, ValueError):
        url = None
    if url is not None and url.get_backend_name() == "postgresql" and url.database:
        # A standby that is not promoted yet counts as away.
        query = {"target_session_attrs": "read-write", **url.query}
        return url.set(drivername="postgresql+psycopg", query=query)
    raise ConfigurationError(
        "A store is named by sqlite:///path/to/file.db (four slashes for a path from the root), or "
        "postgresql://user:password@host/database."
    )


def is_sqlite(url: sa.URL) -> bool:
    """Whether a store is in SQLite."""
    return url.get_backend_name() == "sqlite"


def connect_args(url: sa.URL) -> dict[str, Any]:
    """Return the options of a Postgres URL that the driver wants as numbers, not as text.

    `prepare_threshold` is a number, or `none`.
    """
    text = url.query.get("prepare_threshold")
    if not isinstance(text, str):
        return {}
    return {"prepare_threshold": int(text) if text.isdigit() else None}


def create_dbos_engine(url: sa.URL) -> sa.Engine | None:
    """Create DBOS's engine for a store in SQLite; `None` for Postgres, where DBOS creates it.

    The same as DBOS's, except that it takes paths of any characters, and works with older versions
    of SQLite, whose `unixepoch` does not know 'subsec': DBOS's first migration needs that.
    """
    if not is_sqlite(url):
        return None
    options = {"timeout": _BUSY, "isolation_level": "IMMEDIATE", "check_same_thread": False}
    engine = sa.create_engine(
        url, pool_size=20, max_overflow=0, pool_timeout=30, connect_args=options
    )

    @listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        if sqlite3.sqlite_version_info < _UNIXEPOCH:
            connection.create_function("unixepoch", 1, lambda _: time.time())

    return engine


def dispose_dbos_engine(engine: sa.Engine) -> None:
    """Close DBOS's connections; one that a thread of DBOS still uses, when it is given back.

    DBOS does the same with the engines that it creates. Else such a connection stays open until
    the garbage collector finds it, and Python 3.13 warns of it.
    """

    @listens_for(engine, "checkin")
    def close(_: object, record: sa.pool.ConnectionPoolEntry) -> None:
        record.invalidate()

    engine.dispose()


def describe_failure(url: sa.URL, error: Exception) -> str:
    """Return one sentence on why a store cannot be used."""
    reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error).strip()
    reason = reason.splitlines()[0] if reason else type(error).__name__
    hint = ""
    if re.search("disk is full|disk I/O|No space", reason):  # the second: a quota that is used up
        hint = " What was paid stays known. Make room on its disk, and try again."
    if re.search("readonly|Read-only|Permission denied", reason):
        hint = " What was paid stays known. Make its file and folder writable, and try again."
    if re.search("prepared statement .* (already exists|does not exist)", reason):
        hint = " A pgbouncer in front of it has to be in session mode (pool_mode = session)."
    return f"{url!r} cannot be used: {reason}.{hint}"


def is_transient(error: BaseException) -> bool:
    """Whether the database is away for a while, or busy, and worth waiting for."""
    if not isinstance(error, DBAPIError) or needs_a_person(error):
        return False
    is_read_only = getattr(error.orig, "sqlstate", None) == _READ_ONLY
    is_away = isinstance(error, OperationalError | InterfaceError)
    return is_away or is_read_only or error.connection_invalidated


def needs_a_person(error: DBAPIError) -> bool:
    """Whether SQLite failed and was not just busy: its disk is full, read-only or broken."""
    if not isinstance(error.orig, sqlite3.OperationalError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # without its extension
    return code not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def prepare_file(url: sa.URL) -> None:
    """Create the database file if it is missing, for its owner only, and set it to WAL mode.

    A file that exists is opened by SQLite alone: when a process closes any other descriptor of it,
    the process loses the locks of all its connections, and another process may then delete the
    write-ahead log under them.

    Raises:
        StoreError: the file cannot be written.
    """
    path = Path(url.database or "").resolve()
    engine = sa.create_engine(url, connect_args={"timeout": 0})
    try:
        create_private(path)
        check_writable(path)
        path.chmod(OWNER_ONLY)
        Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(_BUSY),
            wait=wait_random(0.01, 0.1),
            reraise=True,
        )(_set_wal_mode, engine)
    except (OSError, DBAPIError) as error:
        raise StoreError(describe_failure(url, error)) from error
    finally:
        engine.dispose()


def _set_wal_mode(engine: sa.Engine) -> None:
    """Set a mode that stays set, in which readers block nobody. SQLite does not wait for it."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
