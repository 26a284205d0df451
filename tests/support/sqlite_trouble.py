"""SQLite that refuses to write, as on a disk that is full or read-only."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_ONLY = "PRAGMA query_only = ON"
FULL = "PRAGMA max_page_count = 1"  # SQLite takes the size that the file has already


@contextmanager
def refusing(how: str) -> Iterator[threading.Event]:
    """Let every SQLite connection of SQLAlchemy's refuse to write once the event is set."""
    broken = threading.Event()

    def refuse(_: sa.Connection, cursor: Any, statement: str, *__: Any) -> None:
        if broken.is_set() and not statement.startswith("BEGIN"):
            cursor.execute(how)

    sa.event.listen(sa.Engine, "before_cursor_execute", refuse)
    try:
        yield broken
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", refuse)
