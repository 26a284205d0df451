"""The tables of DBOS, made by its migrations once.

In each store of a test they would take half of the start of a worker.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from dbos import run_dbos_database_migrations
from dbos._sys_db_sqlite import SQLiteSystemDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def _tables() -> str:
    """All statements that make an empty database of DBOS."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        run_dbos_database_migrations(system_database_url=f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as database:
            return "\n".join(database.iterdump())


@pytest.fixture(scope="session", autouse=True)
def migrations_run_once() -> Iterator[None]:
    """Give a SQLite file without these tables all of them, before DBOS migrates it."""
    tables, migrate = _tables(), SQLiteSystemDatabase.run_migrations

    def run_migrations(self: SQLiteSystemDatabase) -> None:
        with closing(sqlite3.connect(str(self.engine.url.database))) as database:
            names = database.execute("SELECT name FROM sqlite_master").fetchall()
            if ("dbos_migrations",) not in names:
                database.executescript(tables)
        migrate(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteSystemDatabase, "run_migrations", run_migrations)
        yield
