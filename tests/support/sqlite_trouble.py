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
_UNDONE = {READ_ONLY: "PRAGMA query_only = OFF", FULL: "PRAGMA max_page_count = 4294967294"}


@contextmanager
def refusing(how: str) -> Iterator[threading.Event]:
    """Let every SQLite connection of SQLAlchemy's refuse to write while the event is set."""
    broken, refused = threading.Event(), False

    def refuse(_: sa.Connection, cursor: Any, statement: str, *__: Any) -> None:
        nonlocal refused
        if not broken.is_set():
            if refused:
                cursor.execute(_UNDONE[how])
        elif not statement.startswith("BEGIN"):
            refused = True
            cursor.execute(how)

    sa.event.listen(sa.Engine, "before_cursor_execute", refuse)
    try:
        yield broken
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", refuse)
